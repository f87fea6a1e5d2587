"""Azure OpenAI by tokens that a Python function gives."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import blitz
import pytest


class AccessToken(NamedTuple):
    """What ``azure.identity`` gives."""

    token: str
    expires_on: float


class Azure:
    """A server that takes the tokens that it is told to, and answers ``hello``."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.refused: set[str] = set()
        azure = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                token = self.headers.get("authorization", "").removeprefix("Bearer ")
                azure.sent.append((self.path, token))
                refused = token in azure.refused
                answer: dict[str, Any] = {"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}
                if refused:
                    answer = {"error": {"code": "401", "message": f"the token {token} is not valid"}}
                body = json.dumps(answer).encode()
                self.send_response(401 if refused else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def tokens(self) -> list[str]:
        return [token for _, token in self.sent]


@pytest.fixture
def azure() -> Iterator[Azure]:
    server = Azure()
    yield server
    server.close()


def with_token(azure: Azure, token: Callable[[], Any], **settings: Any) -> blitz.Engine:
    engine = blitz.Engine(":memory:")
    engine.register_provider(blitz.AzureOpenAI(azure.url, token, **settings))
    engine.models.put("m", "azure", model_name="dep", settings={"stream": False})
    engine.agents.put("a", "m", retry={"max_attempts": 1})
    return engine


def counted(lasting: float | None) -> Callable[[], Any]:
    count = iter(range(100))

    def token() -> Any:
        text = f"sk-canary-{next(count)}"
        return text if lasting is None else AccessToken(text, time.time() + lasting)

    return token


def test_a_plain_text_is_asked_for_with_each_request(azure: Azure) -> None:
    with with_token(azure, counted(None), api_version="2024-10-21") as engine:
        assert [engine.run("a", "x").text for _ in range(2)] == ["hello"] * 2
    assert azure.tokens == ["sk-canary-0", "sk-canary-1"]
    assert azure.sent[0][0] == "/openai/deployments/dep/chat/completions?api-version=2024-10-21"


def test_a_token_that_lasts_is_kept_until_it_is_near_its_end_or_refused(azure: Azure) -> None:
    with with_token(azure, counted(3600)) as engine:
        assert [engine.run("a", "x").text for _ in range(3)] == ["hello"] * 3
        assert azure.tokens == ["sk-canary-0"] * 3
        azure.refused.add("sk-canary-0")
        assert engine.run("a", "x").text == "hello"
        assert azure.tokens[3:] == ["sk-canary-0", "sk-canary-1"]
        # A new one that is refused too is the model call's error, and no message shows it.
        azure.refused |= {"sk-canary-1", "sk-canary-2"}
        failed = engine.run("a", "x")
        assert failed.error is not None and failed.error.code == "provider_auth"
        assert "canary" not in str(failed.error) and len(azure.sent) == 7
    azure.sent.clear()
    azure.refused.clear()
    with with_token(azure, counted(60)) as engine:
        assert [engine.run("a", "x").text for _ in range(2)] == ["hello"] * 2
    assert azure.tokens == ["sk-canary-0", "sk-canary-1"]


def test_an_async_function_gives_tokens_too(azure: Azure) -> None:
    async def token() -> str:
        return "sk-canary"

    with with_token(azure, token) as engine:
        assert engine.run("a", "x").text == "hello"
    assert azure.tokens == ["sk-canary"]


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (RuntimeError("sk-canary"), "provider_auth"),
        (TimeoutError("sk-canary"), "timeout"),
        (blitz.UnavailableError("sk-canary"), "unavailable"),
    ],
)
def test_an_exception_is_a_typed_error_without_its_words(azure: Azure, raised: Exception, code: str) -> None:
    def token() -> str:
        raise raised

    with with_token(azure, token) as engine:
        failed = engine.run("a", "x")
        assert failed.error is not None and failed.error.code == code
        shown = [str(failed.error), str(engine.executions.get(failed.execution_id)), repr(failed)]
        shown += [repr(event) for event in engine.executions.events(failed.execution_id)]
        assert "canary" not in "".join(shown)
        assert engine.costs.summary().usage.requests == 0 and failed.cost == 0
    assert azure.sent == []


@pytest.mark.parametrize("given", [None, "", 7, AccessToken(7, 1.0), object()])  # type: ignore[arg-type]
def test_what_is_no_token_is_refused(azure: Azure, given: Any) -> None:
    with with_token(azure, lambda: given) as engine:
        failed = engine.run("a", "x")
        assert failed.error is not None and failed.error.code == "provider_auth"
    assert azure.sent == []


def test_the_token_goes_to_its_endpoint_alone(azure: Azure) -> None:
    other = Azure()
    with with_token(azure, counted(None)) as engine:
        engine.models.put("m", "azure", model_name="dep", base_url=other.url)
        assert engine.run("a", "x").text == "hello"
    assert len(azure.sent) == 1 and other.sent == []
    other.close()
    with pytest.raises(blitz.InvalidInputError):
        blitz.AzureOpenAI("no address", lambda: "x")
