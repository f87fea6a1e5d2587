"""One measurement of a Python row, in a process of its own: prints what it found as the benchmarks read it.

    python measure.py <what> <by whom> <address of the mock> <folder> <items>
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median_low
from typing import Any

AT_ONCE = 64
AGENT, QUESTION = "solver", "2 + 3?"
ASKED = json.dumps({"model": "mock", "stream": True, "messages": [{"role": "user", "content": "Tell me."}]})


def main(what: str, who: str, mock: str, folder: str, items: str) -> None:
    sample = MEASURED[what, who](mock, folder, int(items))
    print(json.dumps(sample), flush=True)
    # The floor's thread knows nothing of an interpreter that ends.
    os._exit(0)


class Meter:
    """Reads the clocks and the memory of this process around the measured part."""

    def __init__(self) -> None:
        self._memory, self._cpu, self._wall = resident(), time.process_time_ns(), time.perf_counter_ns()

    def stop(self, items: int, p50: int | None = None) -> dict[str, Any]:
        wall, cpu = time.perf_counter_ns() - self._wall, time.process_time_ns() - self._cpu
        return {
            "items": items,
            "cpu": duration(cpu),
            "wall": duration(wall),
            "p50": None if p50 is None else duration(p50),
            "memory": max(0, resident() - self._memory),
        }


def duration(nanos: int) -> dict[str, int]:
    return {"secs": nanos // 10**9, "nanos": nanos % 10**9}


def resident() -> int:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


def add(a: float, b: float) -> float:
    "Add two numbers."
    return a + b


async def aadd(a: float, b: float) -> float:
    "Add two numbers."
    return a + b


def engine_on(database: str, mock: str, mode: str = "", tool: Callable[..., Any] = add) -> Any:
    """An engine with all on: a priced model on the mock, a tool, an agent, a hard budget."""
    import blitz

    engine = blitz.Engine(database)
    price = blitz.price_per_million(input="2.50", output="10")
    engine.models.put("m", "openai_compatible", model_name="mock", base_url=f"http://{mock}{mode}/v1", price=price)
    engine.tool(tool, name="add", effect="pure")
    engine.agents.put(AGENT, "m", instructions="Solve it with tools.", tools=["add"])
    engine.budgets.put("each", "execution", limit=1)
    return engine


def answered(outcome: Any) -> None:
    if outcome.output != "The answer is 5.":
        raise SystemExit(f"an execution ended as {outcome!r}")


# 64 at once, as coroutines.


def execution_floor(mock: str, _: str, items: int) -> dict[str, Any]:
    import blitz_floor

    async def execute(connection: Any) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        connection.start(loop, future)
        await future

    connections = [blitz_floor.Connection(mock, add) for _ in range(AT_ONCE)]
    return together(items, [lambda connection=connection: execute(connection) for connection in connections])


def execution_blitz(database: str, tool: Callable[..., Any] = add) -> Callable[[str, str, int], dict[str, Any]]:
    def measure(mock: str, folder: str, items: int) -> dict[str, Any]:
        async def execute() -> None:
            answered(await engine.arun(AGENT, QUESTION))

        with engine_on(database.format(folder=folder), mock, tool=tool) as engine:
            return together(items, [execute] * AT_ONCE)

    return measure


def together(items: int, runners: list[Callable[[], Awaitable[None]]]) -> dict[str, Any]:
    """Lets all run their share at once. A first share is not measured: it opens the connections."""
    share = -(-items // AT_ONCE)

    async def run(one: Callable[[], Awaitable[None]], times: int) -> None:
        for _ in range(times):
            await one()

    async def measure() -> dict[str, Any]:
        await asyncio.gather(*(run(one, -(-share // 10)) for one in runners))
        meter = Meter()
        await asyncio.gather(*(run(one, share) for one in runners))
        return meter.stop(share * AT_ONCE)

    return asyncio.run(measure())


# 64 at once, blocking, each on a thread.


def threads_floor(mock: str, _: str, items: int) -> dict[str, Any]:
    import blitz_floor

    return in_threads(items, [blitz_floor.Connection(mock, add).wait for _ in range(AT_ONCE)])


def threads_blitz(mock: str, _: str, items: int) -> dict[str, Any]:
    with engine_on(":memory:", mock) as engine:
        return in_threads(items, [lambda: answered(engine.run(AGENT, QUESTION))] * AT_ONCE)


def in_threads(items: int, runners: list[Callable[[], None]]) -> dict[str, Any]:
    share = -(-items // AT_ONCE)

    def all_run(times: int) -> None:
        def run(one: Callable[[], None]) -> None:
            for _ in range(times):
                one()

        threads = [threading.Thread(target=run, args=(one,)) for one in runners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    all_run(-(-share // 10))
    meter = Meter()
    all_run(share)
    return meter.stop(share * AT_ONCE)


# One at a time, blocking.


def alone_floor(mock: str, folder: str, items: int) -> dict[str, Any]:
    import blitz_floor

    return one_by_one(items, blitz_floor.Alone(mock, add, folder).wait)


def alone_blitz(mock: str, folder: str, items: int) -> dict[str, Any]:
    with engine_on(f"{folder}/blitz.db", mock) as engine:
        return one_by_one(items, lambda: answered(engine.run(AGENT, QUESTION)))


def one_by_one(items: int, deed: Callable[[], Any]) -> dict[str, Any]:
    times = []
    meter = Meter()
    for _ in range(items):
        begin = time.perf_counter_ns()
        deed()
        times.append(time.perf_counter_ns() - begin)
    return meter.stop(items, median_low(times))


# The tokens of a streamed answer.


def stream_floor(mode: str) -> Callable[[str, str, int], dict[str, Any]]:
    def measure(mock: str, _: str, items: int) -> dict[str, Any]:
        import blitz_floor

        async def read() -> dict[str, Any]:
            loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()
            path = mode.format(tokens=items) + "/v1/chat/completions"
            meter, shown = Meter(), 0
            blitz_floor.stream(mock, path, ASKED, loop, queue.put_nowait)
            while (tokens := await queue.get()) is not None:
                for token in tokens:
                    shown += len(token)
            return meter.stop(shown // len(" word"))

        return asyncio.run(read())

    return measure


def stream_blitz(mode: str) -> Callable[[str, str, int], dict[str, Any]]:
    def measure(mock: str, _: str, items: int) -> dict[str, Any]:
        def read() -> dict[str, Any]:
            meter, shown = Meter(), 0
            for event in engine.stream(AGENT, QUESTION):
                shown += len(event.text)
            return meter.stop(shown // len(" word"))

        with engine_on(":memory:", mock, mode.format(tokens=items)) as engine:
            return whole(items, read)

    return measure


def astream_blitz(mode: str) -> Callable[[str, str, int], dict[str, Any]]:
    def measure(mock: str, _: str, items: int) -> dict[str, Any]:
        async def read() -> dict[str, Any]:
            meter, shown = Meter(), 0
            async for event in engine.astream(AGENT, QUESTION):
                shown += len(event.text)
            return meter.stop(shown // len(" word"))

        with engine_on(":memory:", mock, mode.format(tokens=items)) as engine:
            return whole(items, lambda: asyncio.run(read()))

    return measure


def whole(items: int, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A reader that falls behind, as it may on a busy machine, misses pieces: what did not see all is done again."""
    for _ in range(5):
        sample = read()
        if sample["items"] == items:
            return sample
    raise SystemExit(f"{sample['items']} of {items} tokens were shown, however often")


# The mock pauses for a millisecond between packets, so that the client sleeps and is woken for each.
BURSTS, PACKETS = "/stream/{tokens}/50/1000", "/stream/{tokens}/1/1000"

MEASURED: dict[tuple[str, str], Callable[[str, str, int], dict[str, Any]]] = {
    ("execution", "floor"): execution_floor,
    ("execution", "memory"): execution_blitz(":memory:"),
    ("execution", "async tool"): execution_blitz(":memory:", aadd),
    ("execution", "full"): execution_blitz("{folder}/blitz.db"),
    ("threads", "floor"): threads_floor,
    ("threads", "memory"): threads_blitz,
    ("alone", "floor"): alone_floor,
    ("alone", "full"): alone_blitz,
    ("bursts", "floor"): stream_floor(BURSTS),
    ("bursts", "astream"): astream_blitz(BURSTS),
    ("bursts", "stream"): stream_blitz(BURSTS),
    ("packets", "floor"): stream_floor(PACKETS),
    ("packets", "astream"): astream_blitz(PACKETS),
    ("packets", "stream"): stream_blitz(PACKETS),
}

if __name__ == "__main__":
    main(*sys.argv[1:])
