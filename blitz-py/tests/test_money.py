"""Ways in, roles, limits, alerts, usage and the trail, as a program in Python meets them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import blitz
import pytest
from conftest import scripted

PASSWORD = "sk-canary long passphrase"
PRICE = blitz.price_per_million(input="1000", output="1000")


@pytest.fixture
def open_to_all(engine: blitz.Engine) -> Iterator[blitz.Engine]:
    """An engine whose agent ``a`` is for everybody, and a user."""
    engine.models.put("m", "scripted", model_name="any", price=PRICE)
    scripted(engine, *(["hello"] * 20))
    engine.models.set_visibility("m", "shared")
    engine.agents.set_visibility("a", "shared")
    engine.users.create("ana@example.com", PASSWORD)
    yield engine


def test_logins_give_tokens_that_open_sessions_and_end_at_once(open_to_all: blitz.Engine) -> None:
    engine = open_to_all
    login = engine.login("ana@example.com", PASSWORD, source="203.0.113.7")
    for kind in ("session", "jwt"):
        tokens = login.sessions.tokens(kind=kind)
        assert engine.authenticate(tokens.access_token).run("a").output == "hello"
        assert tokens.access_token not in repr(tokens)
    assert tokens.expires_at > datetime.now(timezone.utc)
    following = engine.refresh(tokens.refresh_token)
    assert engine.authenticate(following.access_token).principal["id"] == tokens.user_id
    with pytest.raises(blitz.UnauthenticatedError):
        engine.refresh(tokens.refresh_token)
    # Its replay ended the login, and with it every token.
    for dead in (tokens.access_token, following.access_token):
        with pytest.raises(blitz.UnauthenticatedError):
            engine.authenticate(dead)
    with pytest.raises(blitz.UnauthenticatedError):
        login.agents.list()
    for wrong in ("", "not a token", "a.b.c"):
        with pytest.raises(blitz.UnauthenticatedError):
            engine.authenticate(wrong)


def test_the_twins_of_the_ways_in(open_to_all: blitz.Engine) -> None:
    engine = open_to_all

    async def come_in() -> None:
        login = await engine.alogin("ana@example.com", PASSWORD)
        tokens = await login.sessions.atokens(kind="jwt")
        following = await engine.arefresh(tokens.refresh_token)
        session = await engine.aauthenticate(following.access_token)
        assert (await session.arun("a")).output == "hello"
        key = await session.keys.acreate(name="k")
        assert (await (await engine.aapi_key(key.key)).arun("a")).output == "hello"

    asyncio.run(come_in())


def test_a_password_is_reset_by_a_token(open_to_all: blitz.Engine) -> None:
    engine = open_to_all
    session = engine.login("ana@example.com", PASSWORD)
    reset = engine.users.reset_password(session.principal["id"])
    engine.set_password(reset.token, "sk-canary other passphrase")
    with pytest.raises(blitz.UnauthenticatedError):
        session.agents.list()
    with pytest.raises(blitz.UnauthenticatedError):
        engine.set_password(reset.token, "sk-canary third passphrase")
    engine.login("ana@example.com", "sk-canary other passphrase")


def test_keys_have_scopes_ends_and_budgets_of_their_own(open_to_all: blitz.Engine) -> None:
    engine = open_to_all
    ana = engine.login("ana@example.com", PASSWORD)
    issued = ana.keys.create(name="ci", scopes=["agents:run", "models:use"])
    assert issued.key.startswith("bz_") and issued.key not in repr(issued)
    assert issued.key not in json.dumps(ana.keys.list().to_dicts())
    by_key = engine.api_key(issued.key)
    engine.budgets.put("of the key", "key", scope_id=issued.record["id"], limit="10")
    assert by_key.run("a").output == "hello"
    with pytest.raises(blitz.PermissionDeniedError):
        by_key.costs.list()
    engine.budgets.put("of the key", "key", scope_id=issued.record["id"], limit="0")
    refused = by_key.run("a")
    assert refused.error is not None and refused.error.code == "budget_exceeded"
    # The user's own way in has room still.
    assert ana.run("a").output == "hello"
    with pytest.raises(blitz.PermissionDeniedError):
        ana.keys.create(name="more than its owner", scopes=["users:manage"])
    ana.keys.revoke(issued.record["id"])
    for dead in (issued.key, issued.key[:-1] + "x", "bz_no_key"):
        with pytest.raises(blitz.UnauthenticatedError):
            engine.api_key(dead)
    with pytest.raises(blitz.UnauthenticatedError):
        by_key.run("a")


def test_a_role_of_the_hosts_own(open_to_all: blitz.Engine) -> None:
    engine = open_to_all
    engine.roles.create("accountant", permissions=["costs:read:all", "costs:export:all"])
    engine.users.create("ben@example.com", PASSWORD, role="accountant")
    engine.login("ana@example.com", PASSWORD).run("a")
    ben = engine.login("ben@example.com", PASSWORD)
    assert ben.costs.summary().cost > 0
    # What may not be run looks like what is not there.
    with pytest.raises(blitz.NotFoundError):
        ben.run("a")
    assert engine.login("ana@example.com", PASSWORD).costs.summary().cost > 0
    with pytest.raises(blitz.ConflictError):
        engine.roles.delete("accountant")


def test_alerts_are_heard(open_to_all: blitz.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import threading

    engine = open_to_all
    heard: list[Any] = []
    done, raised, again = threading.Event(), threading.Event(), threading.Event()
    monkeypatch.setattr(sys, "unraisablehook", lambda told: raised.set() if str(told.exc_value) == "no" else None)

    @engine.on_alert
    def hears(alert: Any) -> None:
        heard.append(alert)
        if len(heard) == 2:
            done.set()
        raise ValueError("no")

    @engine.on_alert
    async def hears_too(alert: Any) -> None:
        assert engine.costs.summary().cost > 0
        again.set()

    engine.budgets.put("soft", "all", limit="0.001", hard=False, thresholds=[50, 100])
    engine.run("a")
    assert done.wait(30) and again.wait(30) and raised.wait(30)
    assert [alert.threshold for alert in heard] == [50, 100]
    assert type(heard[0]).__name__ == "Alert" and heard == list(engine.alerts.list())


def test_limits_and_alerts(open_to_all: blitz.Engine) -> None:
    engine = open_to_all
    engine.budgets.put("soft", "all", limit="0.001", hard=False, thresholds=[50, 100])
    engine.run("a")
    alerts = engine.alerts.list()
    assert [alert.threshold for alert in alerts] == [50, 100]
    assert alerts[0].posted > Decimal("0.001")
    engine.run("a")
    assert len(engine.alerts.list()) == 2
    engine.limits.put("all", limits={"max_concurrent": 1})
    assert [limit.scope for limit in engine.limits.list()] == ["all"]
    assert engine.run("a").output == "hello"
    with pytest.raises(blitz.InvalidInputError):
        engine.limits.put("all", limits={"requests_per_minute": 0})


def test_t14_a_client_key_begins_a_run_once(open_to_all: blitz.Engine) -> None:
    engine = open_to_all
    first = engine.run("a", "x", client_key="order-7", tags={"team": "blue"})
    assert engine.run("a", "x", client_key="order-7", tags={"team": "blue"}).execution_id == first.execution_id
    assert engine.start("a", "x", client_key="order-7", tags={"team": "blue"}).wait().execution_id == first.execution_id
    with pytest.raises(blitz.ConflictError):
        engine.run("a", "y", client_key="order-7")
    report = engine.usage.query(by=["tags"])
    assert [(row.tags, row.calls) for row in report.rows] == [("team=blue", 1)]


def test_usage_in_tables_files_and_frames(open_to_all: blitz.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_to_all
    ana = engine.login("ana@example.com", PASSWORD)
    for _ in range(3):
        ana.run("a", tags={"team": "=cmd()"})
    report = engine.usage.query(by=["user", "model", "agent", "tags"], every="day")
    (row,) = report.rows
    assert (row.calls, row.agent, row.tags) == (3, "a", "team==cmd()")
    assert isinstance(row.cost, Decimal) and row.cost == report.total.cost == engine.costs.summary().cost
    assert row.start.tzinfo is not None and len(report) == 1
    page = report._repr_html_()
    assert page.startswith("<table>") and "team==cmd()" in page

    engine.models.put("=1+1", "scripted", model_name="any", price=PRICE)
    engine.agents.put("b", "=1+1")
    engine.run("b")
    text = engine.usage.export(query={"by": ["model"]}, format="csv")
    cells = {record["model"] for record in csv.DictReader(io.StringIO(text))}
    assert cells == {"m", "'=1+1"}
    lines = [json.loads(line) for line in engine.usage.export(query={"by": ["model"]}, format="jsonl").splitlines()]
    assert sum(Decimal(line["cost"]) for line in lines) == engine.costs.summary().cost
    # Everybody sees their own.
    assert ana.usage.query(by=["user"]).total.calls == 3


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_usage_as_a_frame(library: str, open_to_all: blitz.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed: pip install {library} to try its frames")
    if library == "polars":
        import sys

        monkeypatch.setitem(sys.modules, "pandas", None)
    engine = open_to_all
    engine.run("a")
    engine.run("a", tags={"team": "blue"})
    frame = engine.usage.query(by=["model", "tags"], every="hour").to_frame()
    assert type(frame).__module__.startswith(library) and len(frame) == 2
    assert sum(frame["cost"]) == engine.costs.summary().cost
    assert frame["calls"].sum() == 2 and set(frame["model"]) == {"m"}


def test_calls_are_rated_anew(engine: blitz.Engine) -> None:
    engine.register_provider(blitz.FunctionModel(lambda request: "hello", name="mistral"))
    engine.models.put("m", "mistral", model_name="m-1")
    engine.agents.put("a", "m")
    engine.run("a", "x")
    assert engine.costs.summary().unpriced_calls == 1
    rates = {"litellm_provider": "mistral", "input_cost_per_token": "0.001", "output_cost_per_token": "0.001"}
    version = engine.prices.import_({"m-1": rates}, source="a test").version
    done = engine.costs.rerate(reason="now it is listed")
    assert (done.version, done.calls, done.changed) == (version, 1, 1) and done.amount > 0
    assert (engine.costs.summary().unpriced_calls, engine.costs.summary().cost) == (0, done.amount)
    adjusted = engine.costs.list()[-1]
    assert (adjusted.kind, adjusted.price_version) == ("adjust", version)


def test_the_trail_is_checked_and_redacted(open_to_all: blitz.Engine) -> None:
    engine = open_to_all
    session = engine.login("ana@example.com", PASSWORD, source="203.0.113.77")
    session.run("a")
    head = engine.audit.verify().head
    assert "203.0.113.77" in json.dumps(engine.audit.list(limit=1000).to_dicts())
    done = engine.audit.redact(f"user:{session.principal['id']}")
    assert done.redacted > 0 and done.kept == 0
    assert "203.0.113.77" not in json.dumps(engine.audit.list(limit=1000).to_dicts())
    assert engine.audit.verify(head=head).first_bad is None


def test_a_raise_lasts_until_its_moment(open_to_all: blitz.Engine) -> None:
    engine = open_to_all
    budget = engine.budgets.put("month", "all", limit="0.0001", period="month", time_zone="Europe/Berlin")
    assert engine.run("a").error is not None
    until = datetime.now(timezone.utc) + timedelta(minutes=5)
    engine.budgets.raise_(budget.id, "10", until=until, reason="a demo")
    assert engine.run("a").output == "hello"
    engine.budgets.end_raises(budget.id)
    assert engine.run("a").error is not None
    assert engine.budgets.reset(budget.id).reset_at is not None


@pytest.mark.parametrize("how", ["drop", "close"])
def test_t13_a_generator_that_is_left_pays_the_floor_and_leaves_nothing_open(engine: blitz.Engine, how: str) -> None:
    asked = threading.Event()

    async def never(request: dict[str, Any]) -> str:
        asked.set()
        await asyncio.sleep(600)
        return "late"

    engine.register_provider(blitz.FunctionModel(never, name="scripted"))
    engine.models.put("m", "scripted", model_name="any", price=PRICE)
    engine.agents.put("a", "m")
    budget = engine.budgets.put("all", "all", limit="100000")
    stream = engine.stream("a", "x")
    id = next(stream).execution_id
    assert asked.wait(20)
    if how == "close":
        stream.close()
    del stream
    done = engine.execution(id).wait()
    assert done.status == "cancelled" and done.cost > 0, "it was sent"
    (window,) = engine.budgets.windows(budget.id)
    assert (window.pending, window.posted) == (0, done.cost)


def test_what_ends_a_program_is_told_of_an_alerts_hearer(
    open_to_all: blitz.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    engine = open_to_all
    kinds: list[str] = []
    raised = threading.Semaphore(0)
    monkeypatch.setattr(sys, "unraisablehook", lambda told: (kinds.append(told.exc_type.__name__), raised.release()))

    @engine.on_alert
    def leaves(alert: Any) -> None:
        raise SystemExit(3)

    @engine.on_alert
    async def stops(alert: Any) -> None:
        raise KeyboardInterrupt

    engine.budgets.put("soft", "all", limit="0.001", hard=False, thresholds=[50, 100])
    assert engine.run("a").status == "completed"
    assert all(raised.acquire(timeout=30) for _ in range(4))
    assert sorted(kinds) == ["KeyboardInterrupt"] * 2 + ["SystemExit"] * 2


def test_t12_what_is_cancelled_is_read_on_and_booked_as_the_provider_says() -> None:
    left = threading.Event()

    def piece(data: dict[str, Any]) -> bytes:
        return f"data: {json.dumps(data)}\n\n".encode()

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write(piece({"choices": [{"index": 0, "delta": {"content": "some words"}}]}))
            assert left.wait(20)
            self.wfile.write(piece({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
            self.wfile.write(piece({"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 12}}))
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with blitz.Engine(":memory:", drain={"seconds": 60, "bytes": 10_000}) as engine:
            url = f"http://127.0.0.1:{server.server_address[1]}"
            price = {"input": "0.000001", "output": "0.000001"}
            engine.models.put("m", "openai", model_name="x", base_url=url, api_key="sk-canary", price=price)
            engine.agents.put("a", "m")
            for event in engine.stream("a", "a question"):
                if event.type == "model.delta":
                    break
            done = engine.execution(1).wait()
            assert done.status == "cancelled" and done.usage.provenance == "estimated"
            assert [entry.kind for entry in engine.costs.list()] == ["settle"]
            left.set()
            while len(entries := engine.costs.list()) < 2:
                time.sleep(0.001)
            assert (entries[1].kind, entries[1].reason) == ("adjust", "late usage of the provider")
            summary = engine.costs.summary()
            assert summary.cost == Decimal("0.000042")
            assert (summary.usage.input_tokens, summary.usage.output_tokens) == (30, 12)
            assert [line.action for line in engine.audit.list()].count("ledger.late_usage") == 1
    finally:
        left.set()
        server.shutdown()
        server.server_close()


def test_what_a_tool_embeds_is_in_the_cost_of_its_execution(engine: blitz.Engine) -> None:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        return {"vectors": [[1.0] for _ in request["inputs"]], "usage": {"input_tokens": 7, "output_tokens": 0}}

    engine.register_provider(blitz.FunctionModel(answer, name="own", embeds=True))
    engine.models.put("e", "own", model_name="any", price={"input": "0.000001", "output": "0"})

    @engine.tool
    def look(context: blitz.ToolContext) -> int:
        return len(context.session.models.embed("e", ["a", "b"]).vectors)

    scripted(engine, {"tool_calls": [{"name": "look", "arguments": {}}]}, "two", tools=["look"])
    engine.models.put("m", "scripted", model_name="any", price={"input": "0", "output": "0"})
    done = engine.run("a", "x")
    assert done.output == "two" and done.cost == Decimal("0.000007") == engine.costs.summary().cost
    assert done.usage.input_tokens == engine.costs.summary().usage.input_tokens
