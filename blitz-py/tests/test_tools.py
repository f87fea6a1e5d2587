"""Python functions as tools: where they run, what they get, what becomes of what they raise."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Annotated, Any, Optional

import blitz
import pytest
from conftest import calls, scripted, told

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


def test_the_fifteen_lines() -> None:
    engine = blitz.Engine(":memory:")

    @engine.tool
    def add(a: float, b: float) -> float:
        "Add two numbers."
        return a + b

    engine.models.put(name="m", provider="offline", model_name="offline")
    engine.agents.put(name="solver", model="m", instructions="Solve it with tools.", tools=["add"])
    done = engine.run("solver", {"question": "2 + 3?"})
    assert "5" in done.text and done.steps == 3 and done.status == "completed"
    assert add(2, 3) == 5, "the function stays a function"
    engine.close()


def test_b10_plain_functions_run_on_threads_and_async_ones_on_the_loop(engine: blitz.Engine) -> None:
    where: dict[str, Any] = {}

    @engine.tool
    def plain() -> str:
        where["plain"] = threading.current_thread().name
        return WHO.get()

    @engine.tool
    async def coroutine() -> str:
        await asyncio.sleep(0)
        where["coroutine"] = asyncio.get_running_loop()
        return WHO.get()

    class Callable_:
        async def __call__(self, x: int = 1) -> int:
            return x

    engine.tool(Callable_(), name="object")
    asked = calls(("plain", {}), ("coroutine", {}), ("object", {"x": 7}))
    scripted(engine, *[asked, "done"] * 4, tools=["plain", "coroutine", "object"])

    WHO.set("main")
    assert told(engine.run("a", "x")) == ["main", "main", 7]
    assert where["plain"].startswith("blitz-tool")
    own = where["coroutine"]

    async def awaited() -> None:
        WHO.set("task")
        loop = asyncio.get_running_loop()
        assert told(await engine.arun("a", "x")) == ["task", "task", 7]
        assert where["coroutine"] is loop, "an async tool runs on the loop that awaits"
        async for _ in engine.astream("a", "x"):
            pass
        assert where["coroutine"] is loop
        # A blocking call inside a running loop works: its tools have a loop of the engine's own.
        assert told(engine.run("a", "x")) == ["task", "task", 7]
        assert where["coroutine"] is own

    asyncio.run(awaited())


def test_each_loop_gets_the_tools_of_its_own_calls(engine: blitz.Engine) -> None:
    @engine.tool
    async def loop_of() -> int:
        await asyncio.sleep(0.001)
        return id(asyncio.get_running_loop())

    model = blitz.FunctionModel(
        lambda request: "done" if request["messages"][-1]["role"] == "tool" else calls(("loop_of", {})), name="scripted"
    )
    engine.register_provider(model)
    engine.agents.put("a", "m", tools=["loop_of"])
    engine.agents.put("outer", "m", agents=["a"])
    wrong: list[Any] = []

    async def ask() -> None:
        outcomes = await asyncio.gather(*(engine.arun("a", "x") for _ in range(20)))
        mine = id(asyncio.get_running_loop())
        wrong.extend(done for done in outcomes if told(done) != [mine])

    threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_tool_gets_its_context(engine: blitz.Engine) -> None:
    seen: list[blitz.ToolContext] = []

    @engine.tool
    def plain(x: int, context: blitz.ToolContext) -> int:
        seen.append(context)
        return x

    @engine.tool
    async def coroutine(*, ctx: blitz.ToolContext) -> Any:
        seen.append(ctx)
        return ctx.session.principal

    schema = engine.tools.get("plain").input_schema
    assert list(schema["properties"]) == ["x"]
    scripted(engine, calls(("plain", {"x": 1}), ("coroutine", {})), "done", tools=["plain", "coroutine"])
    user = engine.users.create("ana@example.com", "sk-canary long passphrase")
    for noun, name in (("agents", "a"), ("models", "m"), ("tools", "plain"), ("tools", "coroutine")):
        engine.call(f"{noun}.set_visibility", {"id": name, "visibility": "shared"})
    done = engine.login("ana@example.com", "sk-canary long passphrase").run("a", "x")
    assert told(done)[1]["id"] == user.id, "a tool acts as its caller"
    assert {context.execution_id for context in seen} == {done.execution_id}
    assert len({context.idempotency_key for context in seen}) == 2 and {context.attempt for context in seen} == {1}
    assert "call_id='call_1_0'" in repr(seen[0]) or "call_id='call_1_1'" in repr(seen[0])


def test_t66_what_a_tool_raises_is_told_to_the_model(engine: blitz.Engine) -> None:
    @engine.tool
    def fails(how: str) -> None:
        if how == "plain":
            raise KeyError("x")
        if how == "empty":
            raise RuntimeError
        if how == "ours":
            raise blitz.NotFoundError("there is no such page")
        if how == "cancelled":
            raise asyncio.CancelledError
        raise blitz.ToolRetry("try how='plain'")

    @engine.tool
    async def fails_too(how: str) -> None:
        fails(how)

    hows = ("plain", "empty", "ours", "retry", "cancelled")
    for name in ("fails", "fails_too"):
        scripted(engine, calls(*((name, {"how": how}) for how in hows)), "done", tools=[name])
        done = engine.run("a", "x")
        assert done.output == "done"
        assert told(done) == [
            "KeyError: 'x'",
            "RuntimeError",
            "there is no such page",
            "try how='plain'",
            "the function was cancelled",
        ]


class Untold(Exception):
    """An exception that cannot be told."""

    def __str__(self) -> str:
        raise RuntimeError("not even this")


def test_a_failure_that_cannot_be_told_is_answered_all_the_same(engine: blitz.Engine) -> None:
    class Ours(blitz.NotFoundError):
        message = 5  # type: ignore[assignment]

    raised: dict[str, BaseException] = {
        "untold": Untold(),
        "lone": ValueError("a \ud800 b"),
        "retry": blitz.ToolRetry("try \udfff"),
        "ours": Ours("x"),
        "fatal": blitz.ToolFatal("a \ud800 b"),
        "surrogate": Exception("\ud800"),
    }

    @engine.tool
    def fails(how: str) -> Any:
        raise raised[how]

    @engine.tool
    async def fails_too(how: str) -> Any:
        raise raised[how]

    hows = ("untold", "lone", "retry", "ours", "surrogate")
    for name in ("fails", "fails_too"):
        scripted(engine, calls(*((name, {"how": how}) for how in hows)), "done", tools=[name])
        done = engine.run("a", "x", limits={"timeout_ms": 20_000})
        assert done.output == "done", done.error
        untold, lone, retry, ours, surrogate = told(done)
        assert untold == "Untold, and its text cannot be had"
        assert lone.startswith("ValueError: a ") and lone.endswith(" b")
        assert retry.startswith("try ") and "Ours" in ours and surrogate.startswith("Exception: ")
        scripted(engine, calls((name, {"how": "fatal"})), "never", tools=[name])
        assert engine.run("a", "x", limits={"timeout_ms": 20_000}).error.code == "tool_failed"  # type: ignore[union-attr]


def test_b10_a_call_that_nobody_answers_any_more_fails(engine: blitz.Engine) -> None:
    from blitz import _calls

    @engine.tool
    async def lost() -> int:
        return 1

    scripted(engine, calls(("lost", {})), "done", tools=["lost"])
    answered = _calls._answer_async

    async def forgets(call: Any) -> None:
        pass

    _calls._answer_async = forgets
    try:
        done = engine.run("a", "x", limits={"timeout_ms": 20_000})
    finally:
        _calls._answer_async = answered
    assert done.output == "done" and told(done) == ["the function was not called to its end"]


def test_a_fatal_error_ends_the_execution(engine: blitz.Engine) -> None:
    @engine.tool
    def stop() -> None:
        raise blitz.ToolFatal("the account is gone")

    scripted(engine, calls(("stop", {})), "never", tools=["stop"])
    done = engine.run("a", "x")
    assert done.status == "failed" and done.error is not None
    assert (done.error.code, "the account is gone" in done.error.message) == ("tool_failed", True)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_t66_what_ends_a_program_ends_the_execution_and_reaches_its_caller(
    engine: blitz.Engine, kind: type[BaseException], is_async: bool
) -> None:
    def plain() -> None:
        raise kind("stop")

    async def coroutine() -> None:
        raise kind("stop")

    engine.tool(coroutine if is_async else plain, name="ends")
    model = blitz.FunctionModel(lambda request: calls(("ends", {})), name="scripted")
    engine.register_provider(model)
    engine.agents.put("a", "m", tools=["ends"])
    with pytest.raises(kind, match="stop"):
        engine.run("a", "x")
    with pytest.raises(kind, match="stop"):
        for _ in engine.stream("a", "x"):
            pass

    async def awaited() -> None:
        try:
            await engine.arun("a", "x")
        except kind:
            caught.append("arun")
        try:
            async for _ in engine.astream("a", "x"):
                pass
        except kind:
            caught.append("astream")

    caught: list[str] = []
    asyncio.run(awaited())
    assert caught == ["arun", "astream"]
    # Nobody owns what was started: its outcome says what happened.
    failed = engine.start("a", "x").wait()
    assert failed.status == "failed" and failed.error is not None
    assert f"raised {kind.__name__}" in failed.error.message
    assert {each.status for each in engine.executions.list()} == {"failed"}


def test_t66_a_tool_that_calls_the_engine_does_not_deadlock(engine: blitz.Engine) -> None:
    @engine.tool
    def deeper(level: int, context: blitz.ToolContext) -> Any:
        if level == 0:
            return "bottom"
        return told(context.session.run("a", {"level": level - 1}))[0]

    @engine.tool
    async def adeeper(level: int, context: blitz.ToolContext) -> Any:
        if level == 0:
            return "bottom"
        return told(await context.session.arun("b", {"level": level - 1}))[0]

    def answer(request: dict[str, Any]) -> Any:
        last = request["messages"][-1]
        if last["role"] == "tool":
            return "done"
        import json

        name = request["tools"][0]["name"]
        return calls((name, json.loads(last["parts"][0]["text"])))

    engine.register_provider(blitz.FunctionModel(answer, name="scripted"))
    engine.agents.put("a", "m", tools=["deeper"])
    engine.agents.put("b", "m", tools=["adeeper"])
    assert told(engine.run("a", {"level": 8})) == ["bottom"]

    async def many() -> None:
        # More than there are threads for plain functions: each waits for one further down.
        outcomes = await asyncio.gather(*(engine.arun("a", {"level": 2}) for _ in range(100)))
        assert all(told(done) == ["bottom"] for done in outcomes)
        outcomes = await asyncio.gather(*(engine.arun("b", {"level": 8}) for _ in range(20)))
        assert all(told(done) == ["bottom"] for done in outcomes)

    asyncio.run(many())
    assert told(engine.run("b", {"level": 3})) == ["bottom"], "from a blocking call, on the engine's own loop"


def test_plain_tools_that_await_make_room_for_others(engine: blitz.Engine) -> None:
    @engine.tool
    def outer(context: blitz.ToolContext) -> Any:
        return told(asyncio.run(context.session.arun("inner", "x")))[0]

    @engine.tool
    def inner() -> str:
        return "in"

    def answer(request: dict[str, Any]) -> Any:
        last = request["messages"][-1]
        return "done" if last["role"] == "tool" else calls((request["tools"][0]["name"], {}))

    async def model(request: dict[str, Any]) -> Any:
        return answer(request)

    engine.register_provider(blitz.FunctionModel(model, name="scripted"))
    engine.agents.put("inner", "m", tools=["inner"])
    engine.agents.put("a", "m", tools=["outer"])

    async def many() -> None:
        # More than there is room for at once.
        outcomes = await asyncio.gather(*(engine.arun("a", "x", limits={"timeout_ms": 60_000}) for _ in range(100)))
        assert [told(done) for done in outcomes] == [["in"]] * 100

    asyncio.run(many())


def test_a_blocking_run_inside_of_an_async_tool(engine: blitz.Engine) -> None:
    @engine.tool
    async def deeper(level: int, how: str, context: blitz.ToolContext) -> Any:
        if level == 0:
            return "bottom"
        below = {"level": level - 1, "how": how}
        if how == "run":
            return told(context.session.run("a", below))[0]
        if how == "start":
            return told(context.session.start("a", below).wait())[0]
        last = list(context.session.stream("a", below))[-1]
        return told(context.session.executions.outcome(last.execution_id))[0]

    def answer(request: dict[str, Any]) -> Any:
        import json

        last = request["messages"][-1]
        return "done" if last["role"] == "tool" else calls(("deeper", json.loads(last["parts"][0]["text"])))

    engine.register_provider(blitz.FunctionModel(answer, name="scripted"))
    engine.agents.put("a", "m", tools=["deeper"])
    for how in ("run", "start", "stream"):
        done = engine.run("a", {"level": 3, "how": how}, limits={"timeout_ms": 20_000})
        assert told(done) == ["bottom"], (how, done)


def test_b10_b46_time_limits_and_cancellation_reach_tools(engine: blitz.Engine) -> None:
    released = threading.Event()
    seen: list[str] = []

    @engine.tool(timeout=0.05)
    def hangs(context: blitz.ToolContext) -> None:
        while not context.cancelled:
            released.wait(0.005)
        seen.append("plain was told")
        released.set()

    @engine.tool(timeout=0.05)
    async def sleeps() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("coroutine was cancelled")
            ended.set()

    ended = threading.Event()
    scripted(engine, calls(("hangs", {})), calls(("sleeps", {})), "done", tools=["hangs", "sleeps"])
    done = engine.run("a", "x")
    assert [text for text in told(done) if "timed out after 50 ms" in text] == told(done)
    assert released.wait(10) and ended.wait(10)
    assert seen == ["plain was told", "coroutine was cancelled"]


def test_b09_calls_of_a_sequential_tool_run_one_after_another(engine: blitz.Engine) -> None:
    lock, running, most, order = threading.Lock(), 0, 0, []
    other_ran = threading.Event()

    @engine.tool(sequential=True)
    def one(n: int) -> int:
        nonlocal running, most
        with lock:
            running, order[:] = running + 1, [*order, n]
            most = max(most, running)
        # A barrier for all tools would never end.
        assert other_ran.wait(30)
        with lock:
            running -= 1
        return n

    @engine.tool
    def other() -> None:
        other_ran.set()

    scripted(engine, calls(*[("one", {"n": n}) for n in range(4)], ("other", {})), "done", tools=["one", "other"])
    assert told(engine.run("a", "x"))[:4] == [0, 1, 2, 3]
    assert (most, order) == (1, [0, 1, 2, 3])
    assert engine.tools.get("one").sequential is True


def test_methods_partials_and_names(engine: blitz.Engine) -> None:
    import functools

    class Desk:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def put(self, x: int) -> int:
            """Puts it on the desk."""
            self.seen.append(x)
            return len(self.seen)

    desk = Desk()
    engine.tool(desk.put)
    engine.tool(functools.partial(desk.put, 5), name="five", description="Puts five.")
    assert engine.tools.get("put").description == "Puts it on the desk."
    assert engine.tools.get("five").input_schema["properties"] == {}
    scripted(engine, calls(("put", {"x": 1}), ("five", {})), "done", tools=["put", "five"])
    engine.run("a", "x")
    assert sorted(desk.seen) == [1, 5]


def test_a_session_registers_tools_as_its_user_may(engine: blitz.Engine) -> None:
    engine.users.create("ana@example.com", "sk-canary long passphrase")
    session = engine.login("ana@example.com", "sk-canary long passphrase")
    with pytest.raises(blitz.PermissionDeniedError):
        session.tool(lambda: 1, name="mine")  # type: ignore[call-overload]

    async def register() -> blitz.Record:
        return await engine.tools.aregister(lambda: 1, name="mine", effect="pure")

    record = asyncio.run(register())
    assert (record.name, record.effect) == ("mine", "pure")
    assert engine.tools.register(lambda: 1, name="mine", effect="pure").revision == 1


def test_positional_only_and_open_keywords(engine: blitz.Engine) -> None:
    @engine.tool
    def odd(a: int, /, b: int = 2, **rest: int) -> list[Any]:
        return [a, b, rest]

    scripted(engine, calls(("odd", {"a": 1, "c": 3})), "done", tools=["odd"])
    assert told(engine.run("a", "x")) == [[1, 2, {"c": 3}]]


def test_each_positional_only_parameter_keeps_its_place(engine: blitz.Engine) -> None:
    @engine.tool
    def places(a: int = 1, b: int = 2, /, c: int = 3) -> list[Any]:
        return [a, b, c]

    @engine.tool
    def context_first(context: blitz.ToolContext, a: int, /, b: int = 2) -> list[Any]:
        return [context.attempt, a, b]

    @engine.tool(input_schema={"type": "object"})
    async def plain(a: Any, b: Any = "b", context: blitz.ToolContext | None = None, /, c: Any = "c") -> list[Any]:
        return [a, b, context is not None, c]

    @engine.tool(input_schema={"type": "object"})
    def with_context(a: Any, context: blitz.ToolContext, /) -> list[Any]:
        return [a, context.attempt]

    named = {"places": places, "context_first": context_first, "plain": plain, "with_context": with_context}
    asked = calls(
        ("places", {"b": 5}),
        ("places", {"c": 5}),
        ("places", {}),
        ("context_first", {"a": 7}),
        ("plain", {"a": 1, "c": 2}),
        ("with_context", {"a": 1}),
        ("with_context", {}),
    )
    scripted(engine, asked, "done", tools=list(named))
    *right, wrong = told(engine.run("a", "x"))
    assert right == [[1, 5, 3], [1, 2, 5], [1, 2, 3], [1, 7, 2], [1, "b", True, 2], [1, 1]]
    assert wrong.startswith("TypeError: ")


def test_t51_a_secret_reaches_the_tool_and_not_its_model(engine: blitz.Engine) -> None:
    engine.secrets.set("github", "sk-canary-of-a-tool")
    given: list[str] = []

    @engine.tool(secrets={"token": "github"})
    def send(to: str, token: str) -> str:
        given.append(token)
        return f"sent to {to} with {token}"

    model = scripted(engine, calls(("send", {"to": "ana"})), "done", tools=["send"])
    done = engine.run("a", "x")
    assert done.output == "done" and given == ["sk-canary-of-a-tool"]
    assert told(done) == ["sent to ana with ***"]
    assert "sk-canary" not in str(model.requests) and "token" not in str(model.requests[0]["tools"])


def test_what_can_be_called_and_not_served_is_refused(engine: blitz.Engine) -> None:
    class Thing:
        def method(self, n: int) -> int:
            return n

    def some() -> Any:
        yield 1

    async def later() -> Any:
        yield 1

    for function, why in (
        (Thing.method, r"engine\.tool\(thing\.f\)"),
        (some, "return a list"),
        (later, "return a list"),
        (classmethod(some), "no classmethod"),
        ("text", "no str"),
    ):
        with pytest.raises(blitz.InvalidInputError, match=why):
            engine.tool(function, name="f")  # type: ignore[call-overload]
    engine.tool(Thing().method)
    assert list(engine.tools.get("method").input_schema["properties"]) == ["n"]


def test_an_async_function_behind_a_plain_decorator_is_awaited(engine: blitz.Engine) -> None:
    import functools

    def logged(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*given: Any, **named: Any) -> Any:
            return function(*given, **named)

        return wrapper

    @engine.tool
    @logged
    async def twice(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    scripted(engine, calls(("twice", {"n": 4})), "done", tools=["twice"])
    assert told(engine.run("a", "x")) == [8]
    model = blitz.FunctionModel(lambda request: twice(5))
    with engine.override(model=model):
        assert engine.run("a", "x").error is not None, "a number is no answer, and it was awaited"


def test_a_context_may_be_optional_or_annotated(engine: blitz.Engine) -> None:
    @engine.tool
    def optional(a: int, context: Optional[blitz.ToolContext] = None) -> bool:  # noqa: UP045
        return context is not None and context.attempt == a

    @engine.tool
    def noted(a: int, context: Annotated[blitz.ToolContext, "the call"]) -> bool:
        return context.attempt == a

    for name in ("optional", "noted"):
        assert list(engine.tools.get(name).input_schema["properties"]) == ["a"]
    scripted(engine, calls(("optional", {"a": 1}), ("noted", {"a": 1})), "done", tools=["optional", "noted"])
    assert told(engine.run("a", "x")) == [True, True]
