"""What is left of an engine that was closed: functions still at work, and foreign threads that hold parts of it."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blitz
import pytest
from conftest import calls, scripted


def elsewhere(act: Callable[[], Any]) -> Any:
    """What a thread gets that the engine knows nothing of."""
    got: list[Any] = []

    def run() -> None:
        try:
            got.append(act())
        except Exception as error:
            got.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return got[0]


def test_plain_functions_outlive_their_engine() -> None:
    engine = blitz.Engine(":memory:")
    engine.models.put("m", "scripted", model_name="any")
    at_work, closed, ended = threading.Barrier(3), threading.Event(), threading.Barrier(3)
    kept: dict[str, Any] = {}

    def model(request: dict[str, Any], call: blitz.ModelCall) -> Any:
        if "tool" in request["messages"][0]["parts"][0]["text"]:
            return calls(("hold", {}))
        kept["call"] = call
        call.emit("in time")
        at_work.wait(60)
        closed.wait(60)
        call.emit("too late")
        ended.wait(60)
        return "too late"

    @engine.tool
    def hold(context: blitz.ToolContext) -> str:
        kept["context"], kept["session"] = context, context.session
        at_work.wait(60)
        closed.wait(60)
        kept["at the end"] = context.cancelled
        ended.wait(60)
        return "too late"

    engine.register_provider(blitz.FunctionModel(model, name="scripted"))
    engine.agents.put("a", "m", tools=["hold"])
    session = engine.root("x")
    handles = [engine.start("a", "tool"), engine.start("a", "model")]
    stream = handles[1].events()
    next(stream)
    at_work.wait(60)
    engine.close(grace=0)

    for gone in (
        lambda: session.run("a", "x"),
        lambda: kept["session"].models.list(),
        lambda: kept["session"].tool(lambda: None, name="late"),
        lambda: kept["context"].session.run("a", "x"),
        lambda: engine.register(hold),
        lambda: engine.recover(),
        lambda: engine.start("a", "x"),
        lambda: handles[0].cancel(),
        lambda: handles[0].decide("k", {"action": "rerun"}),
        lambda: asyncio.run(engine.arun("a", "x")),
    ):
        assert isinstance(elsewhere(gone), blitz.ClosedError), gone
    for left in (lambda: handles[0].wait(), lambda: list(stream)):
        assert isinstance(elsewhere(left), (blitz.ClosedError, blitz.InterruptedError)), left
    assert elsewhere(lambda: kept["call"].cancelled) and elsewhere(lambda: kept["context"].cancelled)
    assert elsewhere(lambda: kept["call"].emit("too late")) is None
    assert elsewhere(engine.close) is None, "closed twice is closed"

    closed.set()
    ended.wait(60)
    assert kept["at the end"]


def test_async_functions_outlive_their_engine() -> None:
    async def main() -> None:
        engine = await blitz.Engine.aopen(":memory:")
        await engine.models.aput("m", "scripted", model_name="any")
        at_work, closed = asyncio.Event(), asyncio.Event()
        ended: list[Any] = []

        async def hold(context: blitz.ToolContext) -> str:
            at_work.set()
            try:
                await closed.wait()
            except asyncio.CancelledError:
                await asyncio.to_thread(lambda: ended.append(elsewhere(lambda: context.session.run("a", "x"))))
                raise
            return "too late"

        await engine.aregister(hold)
        engine.register_provider(blitz.Scripted([calls(("hold", {})), "done"]))
        await engine.agents.aput("a", "m", tools=["hold"])
        task = asyncio.create_task(engine.arun("a", "x"))
        await at_work.wait()
        await engine.aclose(grace=0)
        with pytest.raises((blitz.ClosedError, blitz.InterruptedError)):
            await task
        closed.set()
        while not ended:
            await asyncio.sleep(0)
        assert isinstance(ended[0], blitz.ClosedError)

    asyncio.run(main())


def test_a_replaced_function_is_let_go_of(engine: blitz.Engine) -> None:
    class First:
        def __call__(self) -> str:
            return "first"

    first = First()
    gone = weakref.ref(first)
    engine.tool(first, name="t")
    scripted(engine, calls(("t", {})), "done", calls(("t", {})), "done", tools=["t"])
    assert engine.run("a", "x").status == "completed"
    del first
    engine.tool(lambda: "second", name="t")
    assert engine.run("a", "x").status == "completed"
    # The execution that used it may be about to end still; what it holds goes with it.
    for _ in range(1000):
        gc.collect()
        if gone() is None:
            return
        threading.Event().wait(0.01)
    raise AssertionError("it is still there")


def test_another_sqlite_that_deletes_the_log_is_told_and_nothing_is_called_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    engine = blitz.Engine(path)
    engine.secrets.set("before", "sk-canary")
    peek = sqlite3.connect(path)
    assert peek.execute("SELECT count(*) FROM users").fetchone() == (0,)
    peek.close()
    with pytest.raises(blitz.StorageError, match="another SQLite library"):
        engine.secrets.set("behind", "sk-canary")
    engine.close()
    with blitz.Engine(path) as again:
        assert again.secrets.list()[0].name == "before", "what was called kept is kept"
