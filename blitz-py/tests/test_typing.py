"""The types: stubs are what the tables and the module say, and readers of types agree with them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import blitz
import pytest
from conftest import WORKSPACE

FACE = WORKSPACE / "blitz-py"
PACKAGE = Path(blitz.__file__).parent

#: What a user writes, with the types a reader must see.
USE = """
import dataclasses
from decimal import Decimal
from typing import Any

import blitz
from typing_extensions import assert_type

@dataclasses.dataclass
class City:
    name: str

engine = blitz.Engine("blitz.db", durability="process")

@engine.tool
def add(a: float, b: float) -> float:
    return a + b

@engine.tool(effect="pure", timeout=1.5)
async def later(a: float, context: blitz.ToolContext) -> str:
    return context.idempotency_key

@engine.node(effect="pure", ports=["short", "long"])
def measure(input: str, limit: int = 10) -> blitz.NodeOutput:
    return blitz.NodeOutput(len(input), port="long" if len(input) > limit else "short")

flow = blitz.Workflow("flow").start("s").node("m", "measure", {"limit": 3}).end("e").edge("s", "m")
flow = flow.map("each", "inputs.texts", lambda body: body.agent("read", "a", retry={"max_attempts": 2}))

def workflows() -> None:
    assert_type(measure("x"), blitz.NodeOutput)
    assert_type(flow, blitz.Workflow)
    assert_type(engine.workflows.put(**flow), blitz.Record)
    handle = engine.executions.handle(1)
    assert_type(handle, blitz.ExecutionHandle[Any])
    handle.approve("ask", "approved", comment="fine")
    assert_type(handle.nodes()[0].attempts, int)
    assert_type(handle.picture("svg"), str)
    assert_type(handle.rerun(from_="m").id, int)

def blocking() -> None:
    assert_type(add(1, 2), float)
    assert_type(engine.run("a", {"x": 1}, output_type=City).output, City)
    assert_type(engine.run("a").cost, Decimal | None)
    assert_type(engine.models.put("m", "offline", model_name="x").id, int)
    assert_type(engine.executions.list()[0], blitz.ExecutionRecord)
    for event in engine.stream("a"):
        assert_type(event, blitz.Event)
    assert_type(engine.start("a").wait().usage.total_tokens, int)
    assert_type(engine.login("a", "b").costs.summary().cost, Decimal)
    try:
        engine.agents.get("a")
    except blitz.NotFoundError as error:
        assert_type(error.code, str)

async def awaited() -> None:
    assert_type((await engine.arun("a", output_type=City)).output, City)
    assert_type(await engine.agents.aget("a"), blitz.Record)
    async for event in engine.astream("a", output_type=City):
        assert_type(event, blitz.Event)
        assert_type(event.partial, Any)
    handle = await engine.astart("a")
    assert_type(await handle, blitz.Outcome[Any])
    async with await blitz.Engine.aopen(":memory:") as opened:
        assert_type(opened, blitz.Engine)
"""

#: What a reader must refuse.
MISUSE = """
import blitz

engine = blitz.Engine("blitz.db")
engine.models.put("m", "offline", modle_name="x")
engine.agents.get()
engine.run("a", output_typ=int)
engine.budgets.put("b", scope="nobody")
blitz.Engine("blitz.db", durability="half")
engine.run("a").usage.tokens_total
"""


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MYPY_CACHE_DIR": str(cwd / "cache")}
    if PACKAGE.parent.name != "site-packages":
        environment["MYPYPATH"] = str(PACKAGE.parent)
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=cwd, env=environment)


def test_stubs_are_what_the_tables_say(tmp_path: Path) -> None:
    made = subprocess.run([sys.executable, str(FACE / "stubs.py")], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr


def test_stubs_are_what_the_module_has(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    made = run("mypy.stubtest", "--mypy-config-file", str(FACE / "pyproject.toml"), "blitz", cwd=tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr


def test_mypy_reads_the_package_the_examples_and_a_users_code(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "use.py").write_text(USE)
    (tmp_path / "misuse.py").write_text(MISUSE)
    config = ("--config-file", str(FACE / "pyproject.toml"))
    package = run("mypy", *config, "-p", "blitz", cwd=tmp_path)
    assert package.returncode == 0, package.stdout
    examples = [str(path) for path in sorted((WORKSPACE / "examples" / "python").glob("*.py"))]
    used = run("mypy", *config, "use.py", *examples, cwd=tmp_path)
    assert used.returncode == 0, used.stdout
    misused = run("mypy", *config, "misuse.py", cwd=tmp_path)
    lines = {line.split(":")[1] for line in misused.stdout.splitlines() if ": error:" in line}
    assert lines == {"5", "6", "7", "8", "9", "10"}, misused.stdout


@pytest.mark.skipif(
    importlib.util.find_spec("pyright") is None or shutil.which("node") is None, reason="pyright needs node"
)
def test_pyright_reads_the_package_and_a_users_code(tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(USE)
    files = [str(PACKAGE), "use.py", str(WORKSPACE / "examples" / "python")]
    read = run("pyright", "--pythonpath", sys.executable, *files, cwd=tmp_path)
    assert read.returncode == 0, read.stdout
