"""The examples, run as a reader runs them, and the code in the documentation."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from conftest import WORKSPACE

EXAMPLES = WORKSPACE / "examples" / "python"


def test_quickstart(capfd: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "quickstart.py"))
    assert "5. (3 steps" in capfd.readouterr().out


def _quickstart_in(page: str) -> list[str]:
    text = (WORKSPACE / page).read_text(encoding="utf-8")
    code = text.split("<!-- examples/python/quickstart.py -->\n```python\n")[1]
    return [line for line in code.split("```")[0].splitlines() if line.strip()]


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_pages_show_the_quickstart(page: str) -> None:
    quickstart = (EXAMPLES / "quickstart.py").read_text(encoding="utf-8").splitlines()
    lines = _quickstart_in(page)
    assert len(lines) >= 8
    for line in lines:
        assert line in quickstart or "Engine(" in line, f"the quickstart lacks: {line}"


def test_the_code_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block of the guide that says so runs, one behind the other, in one namespace."""
    monkeypatch.chdir(tmp_path)
    text = (WORKSPACE / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- runs -->\n```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 6
    guide = types.ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", guide)
    space = guide.__dict__
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/python.md, block {number}", "exec"), space)
    space["engine"].close()


@pytest.mark.filterwarnings("default")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(EXAMPLES / "review.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    ran = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    shown = json.dumps([cell.get("outputs", []) for cell in ran.cells])
    for part in ("lease.txt", "execution.finished", "Outcome(", "CostSummary("):
        assert part in shown, part


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    monkeypatch.setenv("BLITZ_DB", str(tmp_path / "service.db"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    sys.modules.pop("service", None)
    import service

    return service


LEASE = {"text": "The tenant is liable for all damages. The landlord may terminate this lease without notice."}


def test_the_service_reviews_streams_and_guards(service: Any) -> None:
    import httpx

    async def ask() -> None:
        async with service.lifespan(service.app):
            transport = httpx.ASGITransport(app=service.app)
            ana = httpx.BasicAuth("ana@example.com", "a long passphrase")
            async with httpx.AsyncClient(transport=transport, base_url="http://service", auth=ana) as client:
                whole = (await client.post("/reviews", json=LEASE)).json()
                assert whole["status"] == "completed" and set(whole["output"]) == {"summary", "issues"}
                async with client.stream("POST", "/reviews/stream", json=LEASE) as answer:
                    assert answer.headers["content-type"].startswith("text/event-stream")
                    lines = [line async for line in answer.aiter_lines()]
                events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
                assert events[0] == "execution.queued" and events[-1] == "execution.finished"
                data = json.loads(next(line for line in lines if line.startswith("data: ")).removeprefix("data: "))
                again = await client.get(f"/executions/{data['execution_id']}/events?after=3")
                assert "id: 3\n" not in again.text and "execution.finished" in again.text
                assert (await client.get("/executions/999/events")).status_code == 404
                assert (await client.get("/costs")).json()["usage"]["requests"] >= 2
                wrong = await client.get("/costs", auth=httpx.BasicAuth("ana@example.com", "wrong"))
                assert (wrong.status_code, wrong.json()["code"]) == (401, "unauthenticated")
                many = await asyncio.gather(*(client.post("/reviews", json=LEASE) for _ in range(20)))
                assert {answer.status_code for answer in many} == {200}

    asyncio.run(ask())


def test_a_client_that_goes_away_cancels(service: Any) -> None:
    import blitz

    async def leave() -> None:
        async def never(request: dict[str, Any]) -> str:
            await asyncio.sleep(600)
            return "late"

        async with service.lifespan(service.app):
            engine: blitz.Engine = service.app.state.engine
            with engine.override(model=blitz.FunctionModel(never)):
                stream = service.sent(engine.astream("review", "x"))
                assert "execution.queued" in await anext(stream)
                await stream.aclose()
                while (await engine.executions.alist())[0].status != "cancelled":
                    await asyncio.sleep(0.005)

    asyncio.run(leave())
