"""What a cancelled function has begun, and what it may still begin."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from typing import Any

import blitz
import pytest
from conftest import calls


class Outer:
    """An agent ``a`` whose tool asks the agent ``b``, whose model answers when it is let."""

    def __init__(self, engine: blitz.Engine) -> None:
        self.engine = engine
        self.asked: list[str] = []
        self.began, self.let = threading.Event(), threading.Event()
        self.ended, self.raised = threading.Event(), list[BaseException]()

        def model(request: dict[str, Any]) -> Any:
            if request["tools"]:
                return calls(("outer", {}))
            self.asked.append("b")
            self.began.set()
            self.let.wait(30)
            return "leaf"

        engine.register_provider(blitz.FunctionModel(model, name="scripted"))
        engine.agents.put("b", "m")

    def tool(self, ask: Any) -> None:
        """A plain tool that asks three times."""

        @self.engine.tool
        def outer() -> str:
            try:
                for _ in range(3):
                    try:
                        ask()
                    except Exception as error:
                        self.raised.append(error)
            finally:
                self.ended.set()
            return "x"

        self.engine.agents.put("a", "m", tools=["outer"])

    def cancelled(self) -> None:
        """Runs the agent until its tool waits, and cancels it."""
        handle = self.engine.start("a", "x")
        assert self.began.wait(30)
        handle.cancel()
        assert self.ended.wait(30)
        # It ends without the answer, which comes when nobody waits for it.
        self.statuses("b")
        self.let.set()
        assert handle.wait().status == "cancelled"

    def statuses(self, name: str) -> list[str]:
        """How the executions of an agent ended."""
        while True:
            found = [each.status for each in self.engine.executions.list() if each.name == name]
            if "running" not in found:
                return found
            time.sleep(0.01)


@pytest.mark.parametrize("how", ["run", "stream", "awaited", "thread"])
def test_a_cancelled_tool_buys_nothing_more(engine: blitz.Engine, how: str) -> None:
    outer = Outer(engine)

    def in_a_thread() -> None:
        async def asked() -> None:
            await asyncio.to_thread(engine.run, "b", "x")

        asyncio.run(asked())

    ways = {
        "run": lambda: engine.run("b", "x"),
        "stream": lambda: list(engine.stream("b", "x")),
        "awaited": lambda: asyncio.run(engine.arun("b", "x")),
        "thread": in_a_thread,
    }
    outer.tool(ways[how])
    outer.cancelled()
    assert [type(each) for each in outer.raised] == [blitz.CancelledError] * 3, outer.raised
    assert "was cancelled" in str(outer.raised[0])
    assert len(outer.asked) == 1 and outer.statuses("b") == ["cancelled"]


def test_a_cancelled_tool_starts_nothing_and_may_tidy_up(engine: blitz.Engine) -> None:
    outer = Outer(engine)
    told: list[Any] = []

    def ask() -> None:
        if not outer.asked:
            engine.run("b", "x")
        told.append(engine.agents.get("b").name)
        engine.start("b", "x")

    outer.tool(ask)
    outer.cancelled()
    assert outer.raised and {type(each) for each in outer.raised} == {blitz.CancelledError}
    assert told and set(told) == {"b"}, "reading goes on"
    assert len(outer.asked) == 1


def test_what_a_tool_leaves_running_is_not_its_call(engine: blitz.Engine) -> None:
    left: list[Any] = []

    def model(request: dict[str, Any]) -> Any:
        if request["tools"] and request["messages"][-1]["role"] != "tool":
            return calls(("leave", {}))
        return "done"

    engine.register_provider(blitz.FunctionModel(model, name="scripted"))
    engine.agents.put("b", "m")

    @engine.tool
    async def leave() -> str:
        async def later() -> Any:
            await asyncio.sleep(0.05)
            return await engine.arun("b", "x")

        left.append(asyncio.ensure_future(later()))
        return "left"

    engine.agents.put("a", "m", tools=["leave"])

    async def asked() -> None:
        assert (await engine.arun("a", "x")).output == "done"
        assert (await left[0]).status == "completed"

    asyncio.run(asked())


def test_ctrl_c_ends_what_a_tool_asked_for() -> None:
    program = """
import blitz, os, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be started with the signal ignored
engine = blitz.Engine(":memory:")
engine.models.put("m", "scripted", model_name="any")
let = threading.Event()

def model(request):
    if request["tools"]:
        return {"tool_calls": [{"name": "outer", "arguments": {}}]}
    os.kill(os.getpid(), signal.SIGINT)
    let.wait(30)
    return "leaf"

engine.register_provider(blitz.FunctionModel(model, name="scripted"))
engine.agents.put("b", "m")
ended = threading.Event()

@engine.tool
def outer():
    try:
        engine.run("b", "x")
    finally:
        ended.set()

engine.agents.put("a", "m", tools=["outer"])
try:
    engine.run("a", "x")
except KeyboardInterrupt:
    assert ended.wait(30)
    while any(each.status == "running" for each in engine.executions.list()):
        time.sleep(0.01)
    let.set()
    print(sorted((each.name, each.status) for each in engine.executions.list()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[('a', 'cancelled'), ('b', 'cancelled')]", done
