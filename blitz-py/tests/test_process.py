"""The process around the engine: Ctrl-C, fork, the interpreter's exit, subinterpreters of tools, memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

START = """
import asyncio, faulthandler, os, sys, threading, time
import blitz

# A program that hangs says where.
faulthandler.dump_traceback_later(50, exit=True)

def slow(request, call):
    print("asked", flush=True)
    while not call.cancelled:
        time.sleep(0.005)
    return "late"

async def aslow(request):
    print("asked", flush=True)
    await asyncio.sleep(600)

def open_engine(path=":memory:", model=slow):
    engine = blitz.Engine(path)
    engine.register_provider(blitz.FunctionModel(model, name="scripted"))
    engine.models.put("m", "scripted", model_name="any")
    engine.agents.put("a", "m")
    return engine
"""


def program(code: str, *arguments: str) -> subprocess.Popen[str]:
    text = START + textwrap.dedent(code)
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", text, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def shown(code: str, *arguments: str) -> str:
    """What a program prints that ends well and says nothing on stderr."""
    child = program(code, *arguments)
    try:
        stdout, stderr = child.communicate(timeout=60)
    finally:
        child.kill()
    assert (child.returncode, stderr) == (0, ""), (child.returncode, stdout, stderr)
    return stdout


def interrupted(code: str, *arguments: str) -> tuple[int, str, str]:
    """What a program does that gets a Ctrl-C once it says "asked"."""
    child = program(code, *arguments)
    try:
        assert child.stdout is not None and child.stdout.readline() == "asked\n", child.communicate()
        child.send_signal(signal.SIGINT)
        stdout, stderr = child.communicate(timeout=60)
    finally:
        child.kill()
    return child.returncode, stdout, stderr


@pytest.mark.parametrize("grace", ["-1", "-0.5", "0", "float('-inf')"])
def test_a_grace_of_nothing_does_not_wait(grace: str) -> None:
    code = f"""
    engine = open_engine(model=aslow)
    handle = engine.start("a", "x")
    while not engine.executions.get(handle.id).status == "running":
        time.sleep(0.005)
    engine.close(grace={grace})
    print("closed")
    """
    # The two threads print at once: their lines may be mixed.
    assert "closed" in shown(code)


def test_a_grace_that_is_no_number_is_refused_and_one_without_end_waits() -> None:
    code = """
    engine = open_engine()
    for close in (engine.close, lambda grace: asyncio.run(engine.aclose(grace=grace))):
        try:
            close(grace=float("nan"))
        except blitz.InvalidInputError:
            print("refused")
    print(engine.models.get("m").name)
    engine.close(grace=float("inf"))
    """
    assert shown(code).split() == ["refused", "refused", "m"]


def test_awaiting_behind_the_end_says_so() -> None:
    code = """
    import atexit
    # Run last: behind the package's own.
    def late():
        try:
            asyncio.run(engine.agents.alist())
        except blitz.ClosedError as error:
            print("closed:", error.message)
    atexit.register(late)
    engine = open_engine()
    """
    assert shown(code).startswith("closed: the interpreter is exiting")


def test_ctrl_c_while_an_error_is_made_is_no_error() -> None:
    code = """
    from blitz import _errors
    def make(*_):
        raise KeyboardInterrupt
    _errors.make = make
    try:
        open_engine().agents.get("nobody")
    except KeyboardInterrupt:
        print("interrupted")
    """
    assert shown(code) == "interrupted\n"


@pytest.mark.parametrize("blocking", [True, False])
def test_an_engine_whose_closing_was_broken_off_closes_at_exit(tmp_path: Path, blocking: bool) -> None:
    close = "engine.close(grace=600)" if blocking else "asyncio.run(engine.aclose(grace=600))"
    code = f"""
    from blitz import _engine
    engine = open_engine(sys.argv[1], aslow)
    try:
        engine.start("a", "x")
        {close}
    except KeyboardInterrupt:
        print(engine in _engine._open, flush=True)
    """
    assert interrupted(code, str(tmp_path / "blitz.db")) == (0, "True\n", "")
    import blitz

    with blitz.Engine(tmp_path / "blitz.db") as engine:
        assert engine.executions.get(1).interrupted


@pytest.mark.parametrize(
    "act",
    [
        "engine.run('a', 'x')",
        "list(engine.stream('a', 'x'))",
        "asyncio.run(engine.arun('a', 'x'))",
    ],
)
def test_t13_ctrl_c_ends_a_wait_and_cancels_what_it_owns_and_it_is_paid(act: str) -> None:
    code = f"""
    engine = open_engine()
    engine.models.put("m", "scripted", model_name="any", price=blitz.price_per_million(input="1", output="1"))
    budget = engine.budgets.put("all", "all", limit="1")
    try:
        {act}
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    while any(each.status == "running" for each in engine.executions.list()):
        time.sleep(0.005)
    print([each.status for each in engine.executions.list()])
    (window,) = engine.budgets.windows(budget.id)
    print(window.pending, window.posted == engine.costs.summary().cost > 0)
    """
    assert interrupted(code) == (0, "interrupted\n['cancelled']\n0 True\n", "")


def test_ctrl_c_in_the_wait_for_a_handle_leaves_the_execution(tmp_path: Path) -> None:
    code = """
    at_work = threading.Event()
    def model(request, call):
        at_work.set()
        while not call.cancelled:
            time.sleep(0.005)
        return "late"

    def say_so_once_it_waits():
        at_work.wait()
        # Not in the wait for this thread's own start, which has that name too.
        def waits(frame):
            return frame.f_code.co_name == "wait" and frame.f_globals["__name__"].startswith("blitz")
        while not waits(sys._current_frames()[threading.main_thread().ident]):
            time.sleep(0.001)
        print("asked", flush=True)

    engine = open_engine(model=model)
    handle = engine.start("a", "x")
    threading.Thread(target=say_so_once_it_waits).start()
    try:
        handle.wait()
    except KeyboardInterrupt:
        print(engine.executions.get(handle.id).status)
    """
    assert interrupted(code) == (0, "running\n", "")


def test_ctrl_c_unhandled_ends_the_program_as_python_does() -> None:
    code, _, stderr = interrupted("open_engine().run('a', 'x')")
    assert code in (-signal.SIGINT, 130) and "KeyboardInterrupt" in stderr


def test_a_signal_handler_runs_while_it_waits() -> None:
    code = """
    import signal
    engine = open_engine()
    handle = engine.start("a", "x")
    def on_alarm(*_):
        print("alarm", flush=True)
        engine.execution(handle.id).cancel()
    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    print(handle.wait().status)
    """
    assert shown(code).splitlines() in (["asked", "alarm", "cancelled"], ["alarm", "cancelled"])


def test_t66_after_fork_every_call_is_a_clear_error_and_the_parent_goes_on() -> None:
    code = """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    engine = open_engine(model=lambda request: "hi")
    session = engine.root("x")
    stream = engine.stream("a", "x")
    next(stream)
    handle = engine.start("a", "x")
    handle.wait()
    # Its thread is not there in the child, which would wait for it at its exit.
    faulthandler.cancel_dump_traceback_later()
    child = os.fork()
    if child == 0:
        ok = 0
        for act in (
            lambda: engine.run("a", "x"),
            lambda: session.models.list(),
            lambda: blitz.Engine(":memory:"),
            lambda: next(stream) and list(stream),
            lambda: handle.wait(),
            lambda: asyncio.run(engine.arun("a", "x")),
            lambda: engine.close(),
            lambda: engine.root("y"),
        ):
            try:
                act()
            except blitz.ClosedError as error:
                assert "forked" in str(error), error
                ok += 1
        # Inherited handles go away without touching locks whose owners are not here.
        del engine, session, stream, handle
        print(ok, flush=True)
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    print(status, [e.type for e in stream][-1], engine.run("a", "x").output)
    engine.close()
    """
    assert shown(code) == "8\n0 execution.finished hi\n"


def test_a_fork_before_the_first_engine_is_fine(tmp_path: Path) -> None:
    code = """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
    with open_engine(model=lambda request: "hi") as engine:
        assert engine.run("a", "x").output == "hi"
    if child == 0:
        os._exit(0)
    print(os.waitpid(child, 0)[1])
    """
    assert shown(code) == "0\n"


def test_spawned_processes_share_one_file(tmp_path: Path) -> None:
    code = """
    path = sys.argv[1]
    if len(sys.argv) == 2:
        import subprocess
        with open_engine(path) as engine:
            from pathlib import Path
            text = Path("/proc/self/cmdline").read_bytes().split(b"\\0")
            children = [subprocess.Popen([part.decode() for part in text if part] + [str(n)]) for n in range(3)]
            assert [child.wait() for child in children] == [0, 0, 0]
            print(sorted(agent.name for agent in engine.agents.list()))
    else:
        with blitz.Engine(path) as engine:
            engine.agents.put("b" + sys.argv[2], "m")
    """
    assert shown(code, str(tmp_path / "blitz.db")) == "['a', 'b0', 'b1', 'b2']\n"


@pytest.mark.parametrize(
    "leave",
    [
        "next(stream)",
        "next(stream); sys.exit(0)",
        "threading.Thread(target=lambda: list(stream), daemon=True).start(); time.sleep(0.05)",
        "threading.Thread(target=lambda: engine.run('a', 'x'), daemon=True).start(); time.sleep(0.05)",
        "engine.start('a', 'x')",
        "asyncio.run(asyncio.wait_for(engine.arun('a', 'x'), 0.05))",
    ],
)
@pytest.mark.parametrize("model", ["slow", "aslow"])
def test_t66_the_interpreter_exits_cleanly_in_the_middle(leave: str, model: str) -> None:
    code = f"""
    engine = open_engine(model={model})
    stream = engine.stream("a", "x")
    try:
        {leave}
    except asyncio.TimeoutError:
        pass
    """
    shown(code)


def test_exit_in_the_middle_of_a_tool_that_hangs(tmp_path: Path) -> None:
    code = """
    engine = open_engine(sys.argv[1], lambda request: {"tool_calls": [{"name": "hang", "arguments": {}}]})
    at_work = threading.Event()
    @engine.tool
    def hang():
        at_work.set()
        time.sleep(600)
    engine.agents.put("a", "m", tools=["hang"])
    engine.start("a", "x")
    at_work.wait()
    print("left")
    """
    path = tmp_path / "blitz.db"
    assert shown(code, str(path)) == "left\n"
    import blitz

    with blitz.Engine(path) as engine:
        assert engine.executions.get(1).interrupted, "what was under way is there for recover()"


def test_a_workflow_goes_on_once_its_nodes_are_there(tmp_path: Path) -> None:
    import blitz

    path = str(tmp_path / "nodes.db")
    key = shown(
        """
        engine = open_engine(sys.argv[1])
        @engine.node(effect="idempotent")
        def work(context: blitz.ToolContext) -> str:
            print(context.idempotency_key, flush=True)
            os._exit(0)
        flow = blitz.Workflow("flow").start("s").node("w", "work").end("e", "{{ nodes.w.output }}")
        engine.workflows.put(**flow.edge("s", "w").edge("w", "e"))
        engine.run("flow", {})
        """,
        path,
    )
    with blitz.Engine(path) as engine:
        assert engine.executions.get(1).interrupted
        assert engine.recover() == [], "its node is not there"
        attempts: list[tuple[int, str]] = []

        @engine.node(effect="idempotent")
        def work(context: blitz.ToolContext) -> str:
            attempts.append((context.attempt, context.idempotency_key))
            return "done"

        assert engine.recover() == [1]
        assert engine.executions.handle(1).wait().output == "done" and attempts == [(2, key.strip())]


def test_recover_goes_on_once_the_tools_are_there(tmp_path: Path) -> None:
    code = """
    engine = open_engine(sys.argv[1], lambda request: {"tool_calls": [{"name": "once", "arguments": {}}]})
    @engine.tool(effect="idempotent")
    def once():
        print("at work", flush=True)
        time.sleep(600)
    engine.agents.put("a", "m", tools=["once"])
    engine.run("a", "x")
    """
    path = tmp_path / "blitz.db"
    child = program(code, str(path))
    assert child.stdout is not None and child.stdout.readline() == "at work\n"
    child.kill()
    child.communicate()
    import blitz

    with blitz.Engine(path) as engine:
        engine.register_provider(blitz.Scripted(["done"]))
        assert engine.executions.get(1).interrupted
        assert engine.recover() == [], "its tool is not there"
        attempts: list[int] = []

        @engine.tool(effect="idempotent")
        def once(context: blitz.ToolContext) -> str:
            attempts.append(context.attempt)
            return "done"

        assert engine.recover() == [1]
        assert engine.execution(1).wait().output == "done" and attempts == [2]


def test_an_unsafe_effect_in_doubt_waits_for_a_decision(tmp_path: Path) -> None:
    code = """
    engine = open_engine(sys.argv[1], lambda request: {"tool_calls": [{"name": "pay", "arguments": {}}]})
    @engine.tool
    def pay():
        print("at work", flush=True)
        time.sleep(600)
    engine.agents.put("a", "m", tools=["pay"])
    engine.run("a", "x")
    """
    path = tmp_path / "blitz.db"
    child = program(code, str(path))
    assert child.stdout is not None and child.stdout.readline() == "at work\n"
    child.kill()
    child.communicate()
    import blitz

    with blitz.Engine(path) as engine:
        engine.register_provider(blitz.Scripted(["done"]))
        engine.tool(lambda: "never", name="pay")
        engine.recover()
        handle = engine.execution(1)
        waits = next(event for event in handle.events() if event.type == "execution.waiting")
        key = waits.data["waiting_for"][0]["key"]
        handle.decide(key, {"action": "skip", "value": "paid"})
        assert handle.wait().output == "done"


def test_a_dead_call_is_booked_by_the_policy(tmp_path: Path) -> None:
    code = """
    engine = open_engine(sys.argv[1])
    price = {"input": "0.000001", "output": "0.000001"}
    engine.models.put("m", "scripted", model_name="any", price=price, max_output_tokens=100)
    engine.run("a", "a question")
    """
    import blitz

    booked = {}
    for policy in ("reserved", "floor"):
        path = tmp_path / f"{policy}.db"
        child = program(code, str(path))
        assert child.stdout is not None and child.stdout.readline() == "asked\n"
        child.kill()
        child.communicate()
        with blitz.Engine(path, recovery_settlement=policy) as engine:
            entries = {entry.kind: entry for entry in engine.costs.list()}
            used = entries["settle"].usage
            assert used.provenance == "estimated" and used.output_tokens == (100 if policy == "reserved" else 0)
            booked[policy] = entries["settle"].amount
            told = [line for line in engine.audit.list() if line.action == "ledger.settle_dead"]
            assert [line.details["settlement"] for line in told] == [policy]
            assert Decimal(told[0].details["cost"]) == booked[policy]
    # A hundred tokens at a dollar a million.
    assert booked["reserved"] - booked["floor"] == Decimal("0.0001")
    for bounds in ({"seconds": 0}, {"bytes": 0}, {"minutes": 1}):
        with pytest.raises(blitz.InvalidInputError, match="drain"):
            blitz.Engine(":memory:", drain=bounds)
    with pytest.raises(blitz.InvalidInputError, match="/recovery_settlement"):
        blitz.Engine(":memory:", recovery_settlement="free")  # type: ignore[arg-type]


#: A few thousand calls in the usual run, a hundred thousand in the long campaign.
CALLS = 100_000 if os.environ.get("BLITZ_TORTURE") else 3_000


def resident() -> int:
    """The memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own count")
def test_memory_stays_flat_over_many_calls(tmp_path: Path) -> None:
    import asyncio
    import gc
    import threading

    import blitz

    engine = blitz.Engine(tmp_path / "blitz.db", durability="process")

    @engine.tool
    def echo(value: Any) -> Any:
        return value

    def answer(request: dict[str, Any]) -> Any:
        last = request["messages"][-1]
        if last["role"] == "tool":
            return "done"
        return {"tool_calls": [{"name": "echo", "arguments": {"value": ["x" * 100] * 10}}]}

    engine.register_provider(blitz.FunctionModel(answer, name="scripted"))
    engine.models.put("m", "scripted", model_name="any")
    engine.agents.put("a", "m", tools=["echo"])

    async def round_of(count: int) -> None:
        for number in range(count):
            if number % 10 == 0:
                await engine.arun("a", "x")
                engine.run("a", "x")
                async for _ in engine.astream("a", "x"):
                    pass
            await engine.models.aget("m")
            engine.models.get("m")
            await engine.acall("agents.list", {"limit": 5})
            try:
                engine.run("nobody", {"a": [1.5, "x", None]})
            except blitz.NotFoundError:
                pass

    asyncio.run(round_of(CALLS // 10))
    gc.collect()
    before, threads = resident(), threading.active_count()
    asyncio.run(round_of(CALLS // 4))
    gc.collect()
    grown = resident() - before
    assert grown < 12_000_000, f"{grown} bytes more after {CALLS} calls"
    assert threading.active_count() <= threads + 2, "threads pile up"
    objects = len(gc.get_objects())
    asyncio.run(round_of(50))
    gc.collect()
    assert len(gc.get_objects()) - objects < 200, "objects of Python pile up"
    engine.close()
