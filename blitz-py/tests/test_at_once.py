"""How many effects an engine runs at once, and what does not count."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import blitz
import pytest
from conftest import calls


class Count:
    """Counts what runs at once."""

    def __init__(self) -> None:
        self._lock, self._now, self.most = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)

    def __exit__(self, *_: Any) -> None:
        with self._lock:
            self._now -= 1


def opened(most: int) -> tuple[blitz.Engine, Count]:
    """An engine with a model, a tool and a node that count themselves."""
    engine, count = blitz.Engine(":memory:", max_parallel=most), Count()

    def model(request: dict[str, Any]) -> Any:
        with count:
            time.sleep(0.002)
        called = any(message["role"] == "tool" for message in request["messages"])
        return calls(*[(tool["name"], {}) for tool in request["tools"]]) if request["tools"] and not called else "said"

    engine.register_provider(blitz.FunctionModel(model, name="scripted"))
    engine.models.put("m", "scripted", model_name="any")
    engine.agents.put("inner", "m")
    return engine, count


def test_no_more_run_than_the_engine_allows_over_all_executions() -> None:
    engine, count = opened(2)
    with engine:

        @engine.tool
        def step() -> int:
            "A step."
            with count:
                time.sleep(0.002)
            return 1

        engine.agents.put("a", "m", tools=["step"])
        with ThreadPoolExecutor(8) as threads:
            done = list(threads.map(lambda _: engine.run("a", "x").text, range(10)))
    assert done == ["said"] * 10
    assert count.most <= 2


def test_a_function_that_waits_for_the_engine_counts_for_nothing() -> None:
    engine, count = opened(1)
    with engine:

        @engine.tool
        def plain() -> str:
            "Runs another agent."
            return engine.run("inner", "x").text

        @engine.tool
        def waits() -> str:
            "Starts another agent and waits for it."
            handle = engine.start("inner", "x")
            last = [event.type for event in handle.events()][-1]
            return last + engine.executions.wait(handle.id).text

        @engine.tool
        async def awaits() -> str:
            "Runs another agent."
            return (await engine.arun("inner", "x")).text

        @engine.tool
        def by_context(context: blitz.ToolContext) -> str:
            "Runs another agent as its caller."
            return context.session.run("inner", "x").text

        tools = ["plain", "waits", "awaits", "by_context"]
        for name in tools:
            engine.agents.put("a", "m", tools=[name])
            assert engine.run("a", "x").text == "said"
        engine.agents.put("a", "m", tools=tools)
        assert engine.run("a", "x").text == "said"
        assert asyncio.run(engine.arun("a", "x")).text == "said"
    assert count.most == 1


def test_the_bound_is_at_least_one() -> None:
    for most in (0, -1, 2**40, "two"):
        with pytest.raises(blitz.InvalidInputError):
            blitz.Engine(":memory:", max_parallel=most)  # type: ignore[arg-type]
