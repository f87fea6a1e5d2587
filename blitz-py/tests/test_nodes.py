"""Python functions as types of workflow nodes, and workflows written in Python."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, Literal

import blitz
import pytest
from conftest import WORKSPACE, scripted

#: The example of the format's description, by hand.
TRIAGE: dict[str, Any] = {
    "format": "blitz.workflow/1",
    "name": "triage",
    "inputs": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    "nodes": [
        {"id": "s", "type": "start"},
        {
            "id": "risk",
            "type": "agent",
            "config": {"agent": "risk_analyzer"},
            "input": {"text": "{{ inputs.text }}"},
            "retry": {"max_attempts": 3},
            "on_error": "branch",
        },
        {"id": "hi", "type": "if", "config": {"expr": "nodes.risk.output.score >= 7"}},
        {"id": "ask", "type": "approval", "config": {"message": "Let it pass?"}, "timeout_s": 86400},
        {"id": "e", "type": "end"},
    ],
    "edges": [
        {"from": "s", "to": "risk"},
        {"from": "risk", "to": "hi"},
        {"from": "risk", "out": "error", "to": "e"},
        {"from": "hi", "out": "true", "to": "ask"},
        {"from": "hi", "out": "false", "to": "e"},
        {"from": "ask", "out": "approved", "to": "e"},
    ],
}


def triage() -> blitz.Workflow:
    return (
        blitz.Workflow("triage")
        .inputs({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]})
        .start("s")
        .agent("risk", "risk_analyzer", input={"text": "{{ inputs.text }}"}, retry={"max_attempts": 3}, on_error="branch")
        .choose("hi", "nodes.risk.output.score >= 7")
        .approval("ask", "Let it pass?", timeout_s=86_400)
        .end("e")
        .edge("s", "risk").edge("risk", "hi").edge("risk", "e", out="error")
        .edge("hi", "ask", out="true").edge("hi", "e", out="false").edge("ask", "e", out="approved")
    )  # fmt: skip


def one_node(kind: str, output: str = "{{ nodes.n.output }}", **node: Any) -> blitz.Workflow:
    """start, a node of a type, end."""
    flow = blitz.Workflow(kind).start("s").node("n", kind, **node).end("e", output)
    return flow.edge("s", "n").edge("n", "e")


def test_the_builder_makes_what_is_written_by_hand(engine: blitz.Engine) -> None:
    assert triage().build() == {**TRIAGE, "inputs": TRIAGE["inputs"]}
    engine.agents.put("risk_analyzer", "m")
    kept = engine.workflows.put(**triage())
    assert kept.nodes[1]["retry"]["max_attempts"] == 3
    assert engine.workflows.validate(triage().build()).valid
    assert engine.workflows.publish("triage").version == 1
    body = (
        blitz.Workflow("b", description="x", limits={"max_parallel": 2})
        .var("log", [], "append")
        .map("each", "inputs.items", lambda body: body.set("w", {"log": "{{ item }}"}), config={"concurrency": 1})
    ).build()
    assert body["nodes"] == [
        {"id": "each", "type": "map", "config": {"items": "inputs.items", "concurrency": 1}},
        {"id": "w", "type": "set", "parent": "each", "config": {"vars": {"log": "{{ item }}"}}},
    ]
    assert body["vars"] == {"log": {"default": [], "merge": "append"}} and body["limits"] == {"max_parallel": 2}


def test_problems_of_the_builder_are_those_of_the_one_validator(engine: blitz.Engine) -> None:
    broken = blitz.Workflow("broken").start("s").choose("q", "nodes.none.output").edge("s", "q").edge("q", "gone")
    found = engine.workflows.validate(broken.build())
    codes = {problem["code"] for problem in found.problems}
    assert not found.valid and len(codes) >= 2, codes
    engine.workflows.put(**broken)
    with pytest.raises(blitz.InvalidInputError) as refused:
        engine.workflows.publish("broken")
    assert refused.value.details


@dataclass
class Text:
    text: str
    language: str = "en"


def test_a_function_becomes_a_type_of_nodes(engine: blitz.Engine) -> None:
    keys: list[str] = []

    @engine.node(effect="pure", ports=["short", "long"])
    def sort_by_length(input: Text, context: blitz.ToolContext, limit: int = 10) -> Any:
        """Sorts texts.

        Args:
            limit: From how many characters a text is long.
        """
        keys.append(context.idempotency_key)
        length = len(input.text)
        return blitz.NodeOutput({"length": length, "in": input.language}, port="short" if length < limit else "long")

    info = next(each for each in engine.workflows.node_types() if each["type"] == "sort_by_length")
    assert info["effect"] == "pure" and info["ports"] == ["short", "long"] and info["description"] == "Sorts texts."
    assert info["config"]["properties"]["limit"]["type"] == "integer"
    assert "From how many" in info["config"]["properties"]["limit"]["description"]
    assert info["input"]["required"] == ["text"] and "input" not in info["config"]["properties"]

    flow = (
        blitz.Workflow("sorted")
        .start("s")
        .node("n", "sort_by_length", {"limit": "{{ inputs.limit }}"}, input={"text": "{{ inputs.text }}"})
        .template("big", "long: {{ nodes.n.output.length }}")
        .end("e", {"n": "{{ nodes.n.output }}", "big": "{{ nodes.big.output | default('no') }}"})
        .edge("s", "n").edge("n", "big", out="long").edge("n", "e", out="short").edge("big", "e")
    )  # fmt: skip
    engine.workflows.put(**flow)
    assert engine.run("sorted", {"text": "abc", "limit": 5}).output == {"n": {"length": 3, "in": "en"}, "big": "no"}
    assert engine.run("sorted", {"text": "abcdef", "limit": 5}).output["big"] == "long: 6"
    assert len(set(keys)) == 2 and all(keys)
    wrong = engine.run("sorted", {"text": "abc", "limit": "five"})
    assert wrong.error is not None and wrong.error.code == "invalid_input" and "limit" in wrong.error.message
    assert not engine.workflows.validate(one_node("sort_by_length", config={"limit": "five"}).build()).valid
    assert len(keys) == 2, "what does not fit is not handed over"


def test_async_nodes_run_on_the_loop_that_awaits(engine: blitz.Engine) -> None:
    seen: list[Any] = []

    @engine.node
    async def echo(input: Any, kind: Literal["a", "b"] = "a") -> Any:
        await asyncio.sleep(0)
        seen.append(asyncio.get_running_loop())
        return [input, kind]

    assert asyncio.run(echo(1)) == [1, "a"], "the function stays a function"

    engine.workflows.put(**one_node("echo", input={"x": "{{ inputs.x }}"}))

    async def awaited() -> None:
        done = await engine.arun("echo", {"x": 1})
        assert done.output == [{"x": 1}, "a"], done
        assert seen[-1] is asyncio.get_running_loop()
        types = [event.type async for event in engine.astream("echo", {"x": 2})]
        assert types[-1] == "execution.finished" and "node.finished" in types

    asyncio.run(awaited())
    assert engine.run("echo", {"x": 3}).output == [{"x": 3}, "a"]


def test_a_node_says_how_far_it_is(engine: blitz.Engine) -> None:
    @engine.node
    def slow(context: blitz.ToolContext) -> str:
        context.heartbeat()
        context.log({"pages": 3})
        with pytest.raises(blitz.InvalidInputError):
            context.log(object())
        return "read"

    engine.workflows.put(**one_node("slow", heartbeat_s=60))
    said = [event.data["message"] for event in engine.stream("slow", {}) if event.type == "node.log"]
    assert said == [{"pages": 3}]


def test_what_a_node_raises_is_its_error(engine: blitz.Engine) -> None:
    attempts: list[int] = []

    @engine.node
    def flaky(context: blitz.ToolContext, how: str) -> str:
        attempts.append(context.attempt)
        if how == "later" and context.attempt < 3:
            raise blitz.UnavailableError("not yet")
        if how == "bug":
            raise ValueError("<b>it broke</b>")
        if how == "fatal":
            raise blitz.ToolFatal("no more")
        return "at last"

    def run(how: str, **node: Any) -> blitz.Outcome[Any]:
        engine.workflows.put(**one_node("flaky", config={"how": how}, **node))
        return engine.run("flaky", {})

    done = run("later", retry={"max_attempts": 3, "initial_ms": 1})
    assert done.output == "at last" and attempts == [1, 2, 3]
    state = next(node for node in engine.executions.nodes(done.execution_id) if node.node == "n")
    assert (state.status, state.attempts) == ("completed", 3)
    done = run("bug", retry={"max_attempts": 3, "initial_ms": 1})
    assert done.status == "failed" and done.error is not None and attempts[3:] == [1]
    assert done.error.code == "tool_failed" and "ValueError" in done.error.message
    assert run("bug", on_error={"value": "else"}).output == "else"
    assert run("fatal").status == "failed"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_node_reaches_whoever_waits(engine: blitz.Engine, kind: type[BaseException]) -> None:
    @engine.node
    def stop() -> None:
        raise kind("now")

    engine.workflows.put(**one_node("stop"))
    with pytest.raises(kind):
        engine.run("stop", {})
    with pytest.raises(kind):
        for _ in engine.stream("stop", {}):
            pass


def test_w49_a_node_may_ask_the_engine_again(engine: blitz.Engine) -> None:
    scripted(engine, *["fine"] * 8)

    @engine.node
    def outer(context: blitz.ToolContext, input: Any) -> Any:
        inner = context.session.run("inner", {"n": input["n"]}).output
        return [inner, engine.run("a", "hello").output]

    @engine.node
    async def inside(context: blitz.ToolContext, input: Any) -> Any:
        return (await context.session.arun("a", str(input["n"]))).output

    engine.workflows.put(**{**one_node("inside", input={"n": "{{ inputs.n }}"}).build(), "name": "inner"})
    each = blitz.Workflow("nested", limits={"max_parallel": 2}).start("s").map(
        "m", "inputs.items", lambda body: body.node("o", "outer", input={"n": "{{ item }}"})
    )
    engine.workflows.put(**each.end("e", "{{ nodes.m.output }}").edge("s", "m").edge("m", "e"))
    done = engine.run("nested", {"items": [1, 2, 3, 4]})
    assert done.output == [["fine", "fine"]] * 4, done


def test_a_type_that_cannot_be_is_refused(engine: blitz.Engine) -> None:
    with pytest.raises(blitz.InvalidInputError):
        engine.node(lambda: 1, name="agent")
    with pytest.raises(blitz.InvalidInputError):
        engine.node(lambda: 1, name="no name")
    with pytest.raises(blitz.InvalidInputError, match=r"\*parts"):
        engine.node(lambda *parts: 1, name="many")
    with pytest.raises(blitz.InvalidInputError):
        engine.node(lambda: 1, name="x", effect="harmless")
    engine.node(lambda n, input: n, name="plain", config={"type": "object"}, input={"type": "object"})
    engine.workflows.put(**one_node("plain", config={"n": [1, {"a": None}]}, input={}))
    assert engine.run("plain", {}).output == [1, {"a": None}]


EVIL = "</text></svg><script>alert('x')</script><img src=x onerror=alert(1)>"


def test_pictures_in_notebooks_hold_no_code(engine: blitz.Engine) -> None:
    scripted(engine, EVIL)
    flow = (
        blitz.Workflow("shown", description=EVIL)
        .start("s", label=EVIL)
        .agent("a", "a", label="\"'&<b>")
        .end("e", "{{ nodes.a.output }}")
        .edge("s", "a").edge("a", "e")
    )  # fmt: skip
    record = engine.workflows.put(**flow)
    version = engine.workflows.publish("shown")
    handle = engine.start("shown", {"text": EVIL})
    done = handle.wait()
    assert done.output == EVIL
    pages = [flow, record, version, handle, done, engine.executions.get(handle.id)]
    for page in pages:
        html = page._repr_html_()
        assert html and "<script" not in html and "<img" not in html and "<b>" not in html, type(page)
    assert "<svg" in handle._repr_html_() and "completed" in handle._repr_html_()
    assert all("<svg" in page._repr_html_() for page in (flow, record, version))
    agent = engine.start("a", "again")
    agent.wait()
    assert "<svg" not in agent._repr_html_() and "<table" in agent._repr_html_()
    assert engine.agents.get("a")._repr_html_() is None


def test_the_handle_answers_shows_and_runs_again(engine: blitz.Engine) -> None:
    flow = (
        blitz.Workflow("asks").start("s").approval("ask", "Right?").end("e", "{{ nodes.ask.output.value }}")
        .fail("no", "not right").edge("s", "ask").edge("ask", "e", out="approved").edge("ask", "no", out="rejected")
    )  # fmt: skip
    engine.workflows.put(**flow)
    started = engine.start("asks", {})
    handle = engine.executions.handle(started.id)
    for event in handle.events():
        if event.type == "approval.requested":
            assert "ask<br/><small>waiting" in handle.picture()
            with pytest.raises(blitz.ConflictError):
                handle.approve(event.data["key"], "approved", digest="0" * 64)
            handle.approve(event.data["key"], "approved", comment="looks right", value=7, digest=event.data["digest"])
    assert handle.wait().output == 7
    assert [node.status for node in handle.nodes()] == ["completed", "completed", "completed", "not_run"] or [
        node.status for node in handle.nodes()
    ] == ["completed", "completed", "completed", "skipped"]
    again = handle.rerun(from_="ask")
    while not engine.executions.get(again.id).waiting_for:
        time.sleep(0.005)
    engine.executions.approve(again.id, "ask", option="rejected", comment="no")
    assert again.wait().status == "failed"

    async def twins() -> None:
        third = await again.arerun()
        async for event in third.aevents():
            if event.type == "approval.requested":
                await third.aapprove(event.data["key"], "approved", value=[1])
        assert (await third).output == [1]
        assert (await third.apicture("svg")).startswith("<svg") and len(await third.anodes()) == 4

    asyncio.run(twins())


def test_the_page_of_workflows_shows_one_definition_three_times(engine: blitz.Engine) -> None:
    text = (WORKSPACE / "docs" / "workflows.md").read_text(encoding="utf-8")
    by_hand = json.loads(text.split("```json\n")[1].split("```")[0])
    space: dict[str, Any] = {"blitz": blitz, "engine": engine}
    exec(text.split("```python\n")[1].split("```")[0], space)
    assert space["triage"].build() == by_hand == TRIAGE
