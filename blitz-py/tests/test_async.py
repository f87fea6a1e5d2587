"""Coroutines, streams, handles, threads: many at once, cancelled, dropped half way."""

from __future__ import annotations

import asyncio
import os
import gc
import threading
import time
from typing import Any

import blitz
import pytest
from conftest import calls, scripted


def status_of(engine: blitz.Engine, id: int) -> str:
    return str(engine.executions.get(id).status)


def wait_for(what: Any, limit: float = 20.0) -> None:
    """Waits for what comes by itself."""
    end = time.monotonic() + limit
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


@pytest.fixture
def slow(engine: blitz.Engine) -> blitz.Engine:
    """An engine whose agent ``a`` waits until it is cancelled."""

    async def never(request: dict[str, Any]) -> str:
        await asyncio.sleep(600)
        return "late"

    engine.register_provider(blitz.FunctionModel(never, name="scripted"))
    engine.agents.put("a", "m")
    return engine


def test_a_thousand_at_once_in_one_loop(engine: blitz.Engine) -> None:
    @engine.tool(effect="pure")
    async def double(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    def answer(request: dict[str, Any]) -> Any:
        last = request["messages"][-1]
        part = last["parts"][0]
        return str(part["content"]) if last["role"] == "tool" else calls(("double", {"x": int(part["text"])}))

    engine.register_provider(blitz.FunctionModel(answer, name="scripted"))
    engine.agents.put("a", "m", tools=["double"])

    async def many() -> list[str]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticking = asyncio.create_task(tick())
        outcomes = await asyncio.gather(*(engine.arun("a", str(number)) for number in range(1000)))
        ticking.cancel()
        assert ticks > 10, "the loop stayed free"
        return [outcome.output for outcome in outcomes]

    assert asyncio.run(many()) == [str(2 * number) for number in range(1000)]
    assert len({each.id for each in engine.executions.list(page={"limit": 1000})}) == 1000


def test_blocking_calls_in_threads_beside_each_other(engine: blitz.Engine) -> None:
    begun = threading.Barrier(8)

    @engine.tool
    def meet() -> str:
        begun.wait(30)
        return "met"

    def answer(request: dict[str, Any]) -> Any:
        return "done" if request["messages"][-1]["role"] == "tool" else calls(("meet", {}))

    engine.register_provider(blitz.FunctionModel(answer, name="scripted"))
    engine.agents.put("a", "m", tools=["meet"])
    outputs: list[Any] = []
    threads = [threading.Thread(target=lambda: outputs.append(engine.run("a", "x").output)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == ["done"] * 8, "all eight were in the tool at once: nobody held the GIL"


def test_a_cancelled_task_cancels_its_execution(slow: blitz.Engine) -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(slow.arun("a", "x"))
        await asyncio.to_thread(wait_for, lambda: len(slow.executions.list()) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(slow.arun("a", "y"), 0.05)

    asyncio.run(cancelled())
    wait_for(lambda: all(each.status == "cancelled" for each in slow.executions.list()))


def test_a_loop_that_ends_leaves_nothing_behind(slow: blitz.Engine, capfd: pytest.CaptureFixture[str]) -> None:
    async def leaves() -> None:
        task = asyncio.create_task(slow.arun("a", "x"))
        await asyncio.to_thread(wait_for, lambda: len(slow.executions.list()) == 1)
        task.add_done_callback(lambda _: None)

    asyncio.run(leaves())
    # A loop that is closed with work under way, without cancelling it.
    loop = asyncio.new_event_loop()
    coroutine = slow.arun("a", "y")
    task = loop.create_task(coroutine)
    loop.run_until_complete(asyncio.sleep(0.05))
    loop.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task, coroutine, loop
    gc.collect()
    assert asyncio.run(slow.models.alist()), "another loop works as ever, and finds what the closed one left"
    wait_for(lambda: all(each.status == "cancelled" for each in slow.executions.list()))
    assert capfd.readouterr().err == ""


def test_a_coroutine_that_is_never_awaited_does_nothing(slow: blitz.Engine) -> None:
    with pytest.warns(RuntimeWarning, match="never awaited"):
        slow.arun("a", "x")
        gc.collect()
    assert slow.executions.list() == blitz.Page([])
    slow.astream("a", "x")
    assert slow.executions.list() == blitz.Page([])


def test_awaiting_without_a_loop_says_so(engine: blitz.Engine) -> None:
    coroutine = engine.models.alist()
    with pytest.raises(RuntimeError, match="no running event loop"):
        coroutine.send(None)


def test_streams_give_every_event_in_order(engine: blitz.Engine) -> None:
    scripted(engine, "one two three", "one two three", "one two three")
    blocking = list(engine.stream("a", "x"))

    async def awaited() -> list[blitz.Event]:
        return [event async for event in engine.astream("a", "x")]

    coroutines = asyncio.run(awaited())
    handle = engine.start("a", "x")
    handle.wait()
    again = list(handle.events())
    types = [event.type for event in blocking]
    assert types[0] == "execution.queued" and types[-1] == "execution.finished" and "model.delta" in types
    assert [event.type for event in coroutines] == types
    assert "".join(event.text for event in blocking) == "one two three"
    journal = [event.type for event in blocking if event.type != "model.delta"]
    assert [event.type for event in again] == journal, "what is written is read again"
    assert [event.seq for event in handle.events(after=3)] == [event.seq for event in again][3:]
    assert [event.seq for event in engine.executions.events(handle.id, after=3)] == [e.seq for e in again][3:]
    assert list(engine.execution(handle.id).events()) == again


@pytest.mark.parametrize("how", ["break", "close", "with", "drop"])
def test_a_stream_left_half_way_cancels(slow: blitz.Engine, how: str) -> None:
    stream = slow.stream("a", "x")
    id = next(stream).execution_id
    if how == "close":
        stream.close()
        assert list(stream) == []
    elif how == "with":
        with stream:
            next(stream)
    elif how == "break":
        for _ in stream:
            break
    del stream
    wait_for(lambda: status_of(slow, id) == "cancelled")


@pytest.mark.parametrize("how", ["break", "aclose", "with", "drop", "cancel"])
def test_an_async_stream_left_half_way_cancels(slow: blitz.Engine, how: str) -> None:
    async def leave() -> int:
        stream = slow.astream("a", "x")
        id = (await anext(stream)).execution_id
        if how == "aclose":
            await stream.aclose()
            assert [event async for event in stream] == []
        elif how == "with":
            async with stream:
                await anext(stream)
        elif how == "break":
            async for _ in stream:
                break
        elif how == "cancel":

            async def read() -> None:
                async for _ in stream:  # noqa: F821
                    pass

            task = asyncio.create_task(read())
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert status_of(slow, id) == "running", "whoever holds the stream may read on"
            del task, read
            gc.collect()
        del stream
        await asyncio.to_thread(wait_for, lambda: status_of(slow, id) == "cancelled")
        return id

    asyncio.run(leave())


def test_a_reader_that_is_cancelled_loses_no_event(engine: blitz.Engine) -> None:
    scripted(engine, {"text": "a b c d e f", "delay_ms": 30})

    async def read() -> list[int]:
        seen: list[int] = []
        stream = engine.astream("a", "x")
        while True:
            try:
                event = await asyncio.wait_for(anext(stream), 0.002)
            except asyncio.TimeoutError:
                continue
            except StopAsyncIteration:
                return seen
            if event.type != "model.delta":
                seen.append(event.seq)

    seen = asyncio.run(read())
    assert seen == list(range(1, len(seen) + 1)) and len(seen) == 5


def chatty(engine: blitz.Engine, pieces: int) -> None:
    """An agent ``a`` whose model says so many pieces, each while it is at work."""

    async def speak(request: dict[str, Any], call: blitz.ModelCall) -> str:
        for number in range(pieces):
            call.emit(f"{number} ")
            await asyncio.sleep(0.001)
        return "done"

    engine.register_provider(blitz.FunctionModel(speak, name="scripted"))
    engine.agents.put("a", "m")


def check_all(engine: blitz.Engine, seen: list[blitz.Event], pieces: int) -> None:
    """Between them the readers saw all of an execution, which went to its end."""
    assert sorted(int(event.text) for event in seen if event.type == "model.delta") == list(range(pieces))
    written = sorted(event.seq for event in seen if event.type != "model.delta")
    assert written == list(range(1, len(written) + 1))
    assert status_of(engine, seen[0].execution_id) == "completed"


def test_tasks_share_a_stream(engine: blitz.Engine) -> None:
    chatty(engine, 20)

    async def read() -> list[blitz.Event]:
        stream = engine.astream("a", "x")
        seen: list[blitz.Event] = []

        async def reader() -> None:
            async for event in stream:
                seen.append(event)

        await asyncio.gather(*(reader() for _ in range(4)))
        return seen

    check_all(engine, asyncio.run(read()), 20)


def test_threads_share_a_stream(engine: blitz.Engine) -> None:
    chatty(engine, 20)
    stream = engine.stream("a", "x")
    seen: list[blitz.Event] = []

    def read() -> None:
        for event in stream:
            seen.append(event)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_all(engine, seen, 20)


def test_a_stream_may_be_closed_while_it_is_read(slow: blitz.Engine) -> None:
    stream = slow.stream("a", "x")
    seen: list[blitz.Event] = []

    def read() -> None:
        for event in stream:
            seen.append(event)

    reader = threading.Thread(target=read)
    reader.start()
    wait_for(lambda: seen)
    stream.close()
    reader.join(20)
    assert not reader.is_alive() and list(stream) == []
    wait_for(lambda: status_of(slow, seen[0].execution_id) == "cancelled")


def test_handles_wait_cancel_and_decide(slow: blitz.Engine) -> None:
    handle = slow.start("a", "x")
    assert repr(handle) == f"ExecutionHandle(id={handle.id})"
    with pytest.raises(blitz.ConflictError):
        handle.decide("1/tool/0", {"action": "rerun"})
    with pytest.raises(blitz.InvalidInputError):
        handle.decide("1/tool/0", {"action": "destroy"})
    handle.cancel()
    assert handle.wait().status == "cancelled"
    with pytest.raises(blitz.ConflictError):
        handle.cancel()

    async def twins() -> None:
        handle = await slow.astart("a", "x")
        with pytest.raises(blitz.ConflictError):
            await handle.adecide("1/tool/0", {"action": "rerun"})
        waiting = asyncio.gather(handle.await_(), handle)
        await handle.acancel()
        first, second = await waiting
        assert first == second and first.status == "cancelled"
        assert [event.type async for event in handle.aevents()][-1] == "execution.finished"

    asyncio.run(twins())
    with pytest.raises(blitz.NotFoundError):
        slow.execution(999).wait()


def test_blocking_calls_inside_a_running_loop(engine: blitz.Engine) -> None:
    scripted(engine, "one", "two", "three")

    async def inside() -> list[Any]:
        handle = engine.start("a", "x")
        return [handle.wait().output, engine.run("a", "x").output, list(engine.stream("a", "x"))[-1].data["output"]]

    assert sorted(asyncio.run(inside())) == ["one", "three", "two"]


def test_a_finalizer_may_call_the_engine(engine: blitz.Engine) -> None:
    scripted(engine, *["hi"] * 3)
    outputs: list[str] = []

    class Dropped:
        def __del__(self) -> None:
            outputs.append(engine.run("a", "x").output)

    @engine.tool
    async def drops() -> None:
        Dropped()

    Dropped()
    engine.agents.put("b", "m", tools=["drops"])
    with engine.override(
        model=blitz.FunctionModel(
            lambda request: (
                "done" if request["messages"][-1]["role"] in ("tool",) or not request["tools"] else calls(("drops", {}))
            )
        )
    ):
        engine.run("b", "x")
    assert len(outputs) == 2


def test_uvloop_where_it_is(engine: blitz.Engine) -> None:
    uvloop = pytest.importorskip("uvloop")
    scripted(engine, "hi")
    assert uvloop.run(engine.arun("a", "x")).output == "hi"


def test_loops_that_are_gone_keep_no_descriptors(engine: blitz.Engine) -> None:
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    engine.register_provider(blitz.FunctionModel(lambda request: "x", name="scripted"))
    engine.agents.put("a", "m")
    asyncio.run(engine.arun("a", "x"))
    before = len(os.listdir(folder))
    for _ in range(100):
        asyncio.run(engine.arun("a", "x"))
    # The last loop's are closed by the next.
    assert len(os.listdir(folder)) <= before + 4
