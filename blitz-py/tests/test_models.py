"""Models of the host's own: scripts, functions, override, and the switch that forbids real requests."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any

import blitz
import pytest
from conftest import calls, scripted, told


def test_a_script_answers_in_order_and_remembers(engine: blitz.Engine) -> None:
    model = scripted(engine, blitz.RateLimitedError("slow down"), "one", {"text": "two"}, retry={"initial_ms": 1})
    assert [engine.run("a", text).output for text in ("x", "y")] == ["one", "two"]
    asked = model.requests
    assert len(asked) == 3 and asked[-1]["messages"][-1]["parts"] == [{"type": "text", "text": "y"}]
    failed = engine.run("a", "z")
    assert failed.status == "failed" and failed.error is not None
    assert "no answer left" in failed.error.message
    assert repr(model) == "Scripted(name='scripted')"


@pytest.mark.parametrize("reply", [{"txet": "x"}, {"text": 5}, 5, {"error": {"code": "nope", "message": ""}}, {}])
def test_a_reply_that_is_none_is_refused_at_once(reply: Any) -> None:
    with pytest.raises(blitz.InvalidInputError, match="replies does not fit"):
        blitz.Scripted([reply])


def test_functions_are_models(engine: blitz.Engine) -> None:
    def plain(request: dict[str, Any]) -> Any:
        return request["messages"][-1]["parts"][0]["text"].upper()

    async def coroutine(request: dict[str, Any], call: blitz.ModelCall) -> Any:
        call.emit("one ")
        await asyncio.sleep(0)
        call.emit("two")
        assert not call.cancelled
        return {"text": "one two", "usage": {"input_tokens": 3, "output_tokens": 2}}

    engine.agents.put("a", "m")
    engine.register_provider(blitz.FunctionModel(plain, name="scripted"))
    assert engine.run("a", "hello").output == "HELLO"
    engine.register_provider(blitz.FunctionModel(coroutine, name="scripted", free=True))
    events = list(engine.stream("a", "hello"))
    assert [event.text for event in events if event.text] == ["one ", "two"]
    assert events[-1].data["output"] == "one two" and events[-1].data["cost"] == "0"

    async def awaited() -> blitz.Outcome[Any]:
        return await engine.arun("a", "x")

    assert asyncio.run(awaited()).usage.input_tokens == 3


def test_what_a_function_model_raises_is_the_calls_error(engine: blitz.Engine) -> None:
    errors: list[Exception] = [blitz.UnavailableError("away"), ValueError("a bug"), blitz.ProviderAuthError("no key")]

    def failing(request: dict[str, Any]) -> str:
        raise errors.pop(0)

    engine.register_provider(blitz.FunctionModel(failing, name="scripted"))
    engine.agents.put("a", "m", retry={"initial_ms": 1})
    done = engine.run("a", "x")
    # Both of them may pass, the last one does not.
    assert done.error is not None and done.error.code == "provider_auth"
    assert not errors
    errors.append(ValueError("a bug"))
    engine.agents.put("a", "m", retry={"max_attempts": 1})
    done = engine.run("a", "x")
    assert done.error is not None and done.error.code == "unavailable"
    assert done.error.message.endswith("ValueError: a bug")
    engine.register_provider(blitz.FunctionModel(lambda request: {"txt": 1}, name="scripted"))
    assert engine.run("a", "x").error.code == "bad_output"  # type: ignore[union-attr]
    # What a model wrote stands in no error.
    engine.register_provider(blitz.FunctionModel(lambda request: {"parts": "sk-canary"}, name="scripted"))
    done = engine.run("a", "x")
    assert done.error is not None and done.error.code == "bad_output"
    assert "sk-canary" not in str(done.to_dict())


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_function_model_raises_says_whether_and_when_it_is_tried_again(engine: blitz.Engine, is_async: bool) -> None:
    asked: list[str] = []

    def failing(request: dict[str, Any]) -> str:
        asked.append("x")
        if len(asked) == 1:
            raise blitz.RateLimitedError("slow", details={"retry_after_ms": 1})
        if len(asked) == 2:
            raise blitz.RateLimitedError("slow", details={"retry_after_ms": -1})
        raise blitz.RateLimitedError("the quota is used up", retryable=False)

    async def awaited(request: dict[str, Any]) -> str:
        return failing(request)

    engine.register_provider(blitz.FunctionModel(awaited if is_async else failing, name="scripted"))
    engine.agents.put("a", "m", retry={"max_attempts": 5, "initial_ms": 0})
    done = engine.run("a", "x")
    assert done.error is not None and done.error.code == "rate_limited"
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("error", "is_charged"),
    [
        (blitz.RateLimitedError("slow"), False),
        (blitz.ProviderAuthError("no key"), False),
        (blitz.InvalidInputError("no"), False),
        (blitz.ContentFilteredError("no"), False),
        (blitz.UnavailableError("away"), True),
        (ValueError("a bug"), True),
        (blitz.RateLimitedError("slow", details={"charged": "unknown"}), True),
        (blitz.UnavailableError("away", details={"charged": "none"}), False),
    ],
)
def test_what_a_function_model_raises_says_whether_it_was_charged(
    engine: blitz.Engine, error: Exception, is_charged: bool
) -> None:
    def failing(request: dict[str, Any]) -> str:
        raise error

    price = blitz.price_per_million(input="1", output="1")
    engine.models.put("charged", "charged", model_name="x", price=price, max_output_tokens=10)
    engine.register_provider(blitz.FunctionModel(failing, name="charged"))
    engine.agents.put("a", "charged", retry={"max_attempts": 1})
    done = engine.run("a", "x")
    assert done.error is not None and done.cost is not None
    assert (done.cost > 0) is is_charged


def test_override_sends_every_call_to_one_model(engine: blitz.Engine) -> None:
    engine.models.put("real", "openai", model_name="gpt-4o", api_key="sk-canary")
    engine.agents.put("a", "real")
    engine.allow_real_requests(False)
    with engine.override(model=blitz.Scripted(["outer", "last"])) as outer:
        with engine.override(model=blitz.FunctionModel(lambda request: "inner")):
            assert engine.run("a", "x").output == "inner"
        assert engine.run("a", "x").output == "outer"
        assert len(outer.requests) == 1
        with pytest.raises(ZeroDivisionError), engine.override(model=blitz.Scripted([])):
            1 / 0  # noqa: B018
        assert engine.run("a", "x").output == "last"
    refused = engine.run("a", "x")
    assert refused.error is not None and refused.error.code == "permission_denied"


def test_a_function_model_that_asks_somebody_outside_says_so(engine: blitz.Engine) -> None:
    asked: list[str] = []

    def outside(request: dict[str, Any]) -> str:
        asked.append(request["model_name"])
        return "from outside"

    engine.agents.put("a", "m")
    engine.register_provider(blitz.FunctionModel(outside, name="scripted", remote=True))
    assert engine.run("a", "x").output == "from outside"
    engine.allow_real_requests(False)
    error = engine.run("a", "x").error
    assert error is not None and error.code == "permission_denied" and len(asked) == 1
    engine.register_provider(blitz.FunctionModel(outside, name="scripted"))
    assert engine.run("a", "x").output == "from outside"


def test_real_requests_are_forbidden_for_a_whole_process(engine: blitz.Engine) -> None:
    blitz.allow_real_requests(False)
    try:
        with blitz.Engine(":memory:") as other:
            for each in (engine, other):
                each.models.put("real", "openai", model_name="gpt-4o", api_key="sk-canary")
                each.agents.put("a", "real")
                error = each.run("a", "x").error
                assert error is not None and error.code == "permission_denied"
        with blitz.Engine(":memory:", real_requests=True) as allowed:
            assert allowed.models.list() == blitz.Page([])
    finally:
        blitz.allow_real_requests(True)


def test_a_function_model_sees_that_nobody_waits(engine: blitz.Engine) -> None:
    began, over = threading.Event(), threading.Event()

    def waits(request: dict[str, Any], call: blitz.ModelCall) -> str:
        began.set()
        while not call.cancelled:
            threading.Event().wait(0.005)
        over.set()
        return "too late"

    engine.register_provider(blitz.FunctionModel(waits, name="scripted"))
    engine.agents.put("a", "m")
    handle = engine.start("a", "x")
    assert began.wait(10)
    handle.cancel()
    assert handle.wait().status == "cancelled" and over.wait(10)


def test_tools_and_function_models_together(engine: blitz.Engine) -> None:
    @engine.tool
    def add(a: int, b: int) -> int:
        return a + b

    def model(request: dict[str, Any]) -> Any:
        assert request["tools"][0]["input_schema"]["required"] == ["a", "b"]
        last = request["messages"][-1]
        return f"it is {last['parts'][0]['content']}" if last["role"] == "tool" else calls(("add", {"a": 2, "b": 3}))

    engine.register_provider(blitz.FunctionModel(model, name="scripted"))
    engine.agents.put("a", "m", tools=["add"])
    done = engine.run("a", "x")
    assert (done.output, told(done)) == ("it is 5", [5])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_what_ends_a_program_reaches_whoever_asked(
    engine: blitz.Engine, kind: type[BaseException], is_async: bool
) -> None:
    def plain(request: dict[str, Any]) -> str:
        raise kind("stop")

    async def coroutine(request: dict[str, Any]) -> str:
        raise kind("stop")

    engine.register_provider(blitz.FunctionModel(coroutine if is_async else plain, name="scripted"))
    engine.agents.put("a", "m")
    with pytest.raises(kind, match="stop"):
        engine.run("a", "x")
    with pytest.raises(kind, match="stop"):
        for _ in engine.stream("a", "x"):
            pass
    failed = engine.start("a", "x").wait()
    assert failed.status == "failed" and failed.error is not None
    assert f"raised {kind.__name__}" in failed.error.message


def test_a_function_model_sees_the_context_of_its_caller(engine: blitz.Engine) -> None:
    import contextvars

    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")
    loops: list[asyncio.AbstractEventLoop] = []

    async def coroutine(request: dict[str, Any]) -> str:
        loops.append(asyncio.get_running_loop())
        return name.get()

    engine.register_provider(blitz.FunctionModel(coroutine, name="scripted"))
    engine.agents.put("a", "m")

    async def ask() -> str:
        name.set("ana")
        output = (await engine.arun("a", "x")).output
        assert loops == [asyncio.get_running_loop()]
        return str(output)

    assert asyncio.run(ask()) == "ana"
    assert engine.run("a", "x").output == "nobody"


def test_b36_headers_and_a_network_are_taken_and_never_shown(engine: blitz.Engine) -> None:
    engine.secrets.set("gateway", "canary")
    headers = {"X-Tenant": "canary", "X-Key": {"secret": "gateway"}}
    model = engine.models.put("real", "openai", model_name="gpt-4o", headers=headers)
    assert model.headers == {"X-Tenant": "***", "X-Key": {"secret": "gateway"}}
    assert "canary" not in repr(model)
    with pytest.raises(blitz.InvalidInputError, match="headers: authorization"):
        engine.models.put("real", "openai", model_name="gpt-4o", headers={"Authorization": "canary"})
    with pytest.raises(blitz.InvalidInputError, match="network.proxy") as refused:
        blitz.Engine(":memory:", network={"proxy": "canary"})
    assert "canary" not in str(refused.value)


def test_a_function_makes_vectors(engine: blitz.Engine) -> None:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        return {"vectors": [[float(len(part["text"]))] for part in request["inputs"]]}

    engine.register_provider(blitz.FunctionModel(answer, name="own", free=True, embeds=True))
    engine.models.put("e", "own", model_name="any")
    assert engine.models.embed("e", ["a", "bcd"]).vectors == [[1.0], [3.0]]


def test_an_agent_is_given_images_and_files(engine: blitz.Engine) -> None:
    model = scripted(engine, *["a cat"] * 4)
    engine.agents.put("b", "m")
    image, file = blitz.Image(b"\0\0\0", media_type="image/png"), blitz.File(url="https://h/a.pdf")
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image", "media_type": "image/png", "data": "AAAA"},
        {"type": "file", "media_type": "application/pdf", "data": "https://h/a.pdf"},
    ]
    engine.run("b", ["What is it?", image, file])
    engine.run("b", {"parts": ["What is it?", image.to_dict(), file]})
    engine.start("b", image).wait()
    engine.run("b", ["no image", "in it"])
    asked = [request["messages"][-1]["parts"] for request in model.requests]
    assert asked == [parts, parts, parts[1:2], [{"type": "text", "text": '["no image","in it"]'}]]
    assert pickle.loads(pickle.dumps(file)) == file != image
    assert "AAAA" not in repr(image) and image.media_type == "image/png"
    with pytest.raises(blitz.InvalidInputError, match=r"parts\[1\] of the input: it has either data or a url"):
        engine.run("b", ["What is it?", blitz.Image()])


def test_a_functions_own_defaults_are_its_own(engine: blitz.Engine) -> None:
    engine.agents.put("a", "m")
    models = [blitz.FunctionModel(lambda request, i=i: f"{i}") for i in range(2)]
    for i, model in enumerate(models):
        with engine.override(model=model):
            assert engine.run("a", "x").output == f"{i}"


def test_what_is_no_model_of_the_hosts_own_is_refused(engine: blitz.Engine) -> None:
    with pytest.raises(blitz.InvalidInputError, match="an AzureOpenAI, and no str"):
        engine.register_provider("x")  # type: ignore[arg-type]
    with pytest.raises(blitz.InvalidInputError, match="and no function"):
        with engine.override(model=lambda request: "x"):  # type: ignore[arg-type]
            pass
    for live in (blitz.Scripted(["x"]), blitz.FunctionModel(len)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="live and cannot be pickled"):
            pickle.dumps(live)
