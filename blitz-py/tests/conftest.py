"""What the tests share: an engine in memory, and agents on scripted models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blitz
import pytest

WORKSPACE = Path(__file__).resolve().parents[2]
MARK = "sk-canary"


@pytest.fixture(autouse=True)
def no_secret_is_kept(request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """What every secret of the suite carries is in no file that a test leaves, nor in what it prints (T58, T59)."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    printed = capfd.readouterr()
    assert MARK not in printed.out + printed.err, "a secret was printed"
    for file in folder.rglob("*") if folder else []:
        if file.is_file() and file.suffix not in (".key", ".py"):
            assert MARK.encode() not in file.read_bytes(), f"a secret is in clear in {file}"


@pytest.fixture
def engine() -> Iterator[blitz.Engine]:
    with blitz.Engine(":memory:") as engine:
        engine.models.put("m", "scripted", model_name="any")
        yield engine


def scripted(engine: blitz.Engine, *replies: Any, tools: list[str] | None = None, **agent: Any) -> blitz.Scripted:
    """An agent ``a`` whose model gives these answers."""
    model = blitz.Scripted(replies)
    engine.register_provider(model)
    engine.agents.put("a", "m", tools=tools or [], **agent)
    return model


def calls(*named: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """An answer that calls tools."""
    return {"tool_calls": [{"name": name, "arguments": arguments} for name, arguments in named]}


def told(outcome: blitz.Outcome[Any]) -> list[Any]:
    """What the model was told by tools."""
    return [part["content"] for message in outcome.messages for part in message.parts if part["type"] == "tool_result"]
