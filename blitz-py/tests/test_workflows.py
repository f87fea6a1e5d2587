"""Workflows from Python: kept, published, run, answered, run again."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import blitz
import pytest
from conftest import scripted

REVIEW: dict[str, Any] = {
    "name": "review",
    "nodes": [
        {"id": "s", "type": "start"},
        {"id": "each", "type": "map", "config": {"items": "inputs.texts"}},
        {"id": "read", "type": "agent", "parent": "each", "config": {"agent": "a"}, "input": {"text": "{{ item }}"}},
        {"id": "ask", "type": "approval", "config": {"message": "{{ nodes.each.output | length }} texts: right?"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.each.output }}"}},
        {"id": "no", "type": "fail", "config": {"message": "not right"}},
    ],
    "edges": [
        {"from": "s", "to": "each"},
        {"from": "each", "to": "ask"},
        {"from": "ask", "out": "approved", "to": "e"},
        {"from": "ask", "out": "rejected", "to": "no"},
    ],
}


def test_a_workflow_runs_asks_and_is_run_again(engine: blitz.Engine) -> None:
    asked = scripted(engine, "fine", "fine")
    engine.workflows.put(**REVIEW)
    assert engine.workflows.publish("review").version == 1
    handle = engine.start("review", {"texts": ["one", "two"]})
    types = []
    for event in handle.events():
        types.append(event.type)
        if event.type == "approval.requested":
            assert event.data["message"] == "2 texts: right?"
            engine.executions.approve(handle.id, event.data["key"], option="approved")
    done = handle.wait()
    assert (done.status, done.output) == ("completed", ["fine", "fine"])
    assert types[-1] == "execution.finished" and types.count("item.finished") == 2
    nodes = {node.node: node for node in engine.executions.nodes(handle.id)}
    assert {name: node.status for name, node in nodes.items()} == {
        "s": "completed",
        "each": "completed",
        "ask": "completed",
        "e": "completed",
        "no": "skipped",
    }
    assert nodes["ask"].port == "approved" and isinstance(nodes["each"].cost, Decimal)
    # From the question on: the agents are not asked again.
    again = engine.executions.rerun(handle.id, from_="ask")
    while not engine.executions.get(again.execution_id).waiting_for:
        time.sleep(0.005)
    engine.executions.approve(again.execution_id, "ask", option="rejected")
    second = engine.executions.wait(again.execution_id)
    assert second.status == "failed" and second.error is not None and "not right" in second.error.message
    assert len(asked.requests) == 2


def test_a_workflow_is_awaited_and_says_what_is_wrong_with_it(engine: blitz.Engine) -> None:
    asyncio.run(engine.workflows.aput("double", nodes=[
        {"id": "s", "type": "start"},
        {"id": "e", "type": "end", "config": {"output": "{{ inputs.n * 2 }}"}},
    ], edges=[{"from": "s", "to": "e"}]))  # fmt: skip
    assert asyncio.run(engine.arun("double", {"n": 21})).output == 42
    broken = {**REVIEW, "name": "broken", "edges": [{"from": "s", "to": "nowhere"}]}
    problems = engine.workflows.validate(broken)
    assert not problems.valid and problems.problems
    engine.workflows.put(**broken)
    with pytest.raises(blitz.InvalidInputError):
        engine.run("broken", {"texts": []})


def test_a_builder_is_what_it_says(engine: blitz.Engine) -> None:
    flow = blitz.Workflow("calls").start("s").edge("s", "h")
    flow.http("h", "https://api.example.com/x", method="POST", body={"a": 1}, timeout_s=5)
    node = flow.build()["nodes"][1]
    assert node["config"] == {"url": "https://api.example.com/x", "method": "POST", "body": {"a": 1}} and node["timeout_s"] == 5
    assert engine.workflows.validate(flow).valid
    engine.workflows.put(**flow)
    done = engine.run("calls", priority=3, concurrency_key="one")
    assert done.error is not None and done.error.code == "permission_denied" and "egress" in done.error.message


def test_http_calls_go_where_the_engine_lets_them(tmp_path: Path) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"said": "hello"}')

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    egress = {"hosts": ["127.0.0.1"], "local": True}
    try:
        with blitz.Engine(tmp_path / "blitz.db", egress=egress) as engine:
            flow = blitz.Workflow("calls").start("s").http("h", f"http://127.0.0.1:{port}/x")
            engine.workflows.put(**flow.end("e", "{{ nodes.h.output }}").edge("s", "h").edge("h", "e"))
            done = engine.run("calls")
            assert done.error is None and "hello" in json.dumps(done.output), done
    finally:
        server.shutdown()
        server.server_close()


def test_a_failed_workflow_is_driven_again(engine: blitz.Engine) -> None:
    attempts: list[int] = []

    @engine.node(effect="pure")
    def shaky(how: str) -> str:
        attempts.append(1)
        if len(attempts) < 2:
            raise ConnectionError("not yet")
        if len(attempts) < 3:
            raise TimeoutError
        return "there"

    flow = blitz.Workflow("shaky").start("s").node("n", "shaky", {"how": "any"})
    engine.workflows.put(**flow.end("e", "{{ nodes.n.output }}").edge("s", "n").edge("n", "e"))
    handle = engine.start("shaky")
    failed = handle.wait()
    assert failed.error is not None and (failed.error.code, failed.error.message) == ("unavailable", "ConnectionError: not yet")
    handle.redrive()
    failed = handle.wait()
    assert failed.error is not None and (failed.error.code, failed.error.message) == ("timeout", "TimeoutError")
    handle.redrive()
    assert handle.wait().output == "there"


def test_triggers_start_workflows_and_their_timeline_is_read(engine: blitz.Engine) -> None:
    flow = (
        blitz.Workflow("greet")
        .start("s")
        .template("t", "hello {{ inputs.name }}")
        .end("e", "{{ nodes.t.output }}")
        .edge("s", "t").edge("t", "e")
        .trigger(type="webhook", name="door", input={"name": "{{ trigger.body.who }}"})
    )  # fmt: skip
    engine.workflows.put(**flow)
    engine.workflows.publish("greet")
    [trigger] = engine.triggers.enable("greet")
    assert engine.triggers.list()[0].trigger["name"] == "door"
    [firing] = engine.triggers.fire("door", data={"who": "you"}, key="once")
    assert engine.triggers.fire("door", data={"who": "you"}, key="once") == [firing], "the same key fires once"
    came = engine.triggers.firings(trigger.id)[0]
    assert came.status == "started" and came.execution_id is not None and came.missed == 0
    outcome = engine.executions.handle(came.execution_id).wait()
    assert outcome.output == "hello you", outcome
    timeline = engine.executions.timeline(came.execution_id)
    assert [entry.name for entry in timeline] == ["s", "t", "e"]
    assert all(entry.status == "completed" and entry.finished_at is not None for entry in timeline)
