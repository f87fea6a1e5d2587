"""Workflows from Python: kept, published, run, answered, run again."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
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
