"""What goes in and what comes out: what JSON cannot hold, errors, frozen values."""

from __future__ import annotations

import copy
import dataclasses
import enum
import math
import pickle
import sys
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import blitz
import pytest
from blitz import _errors, _native
from conftest import calls, scripted, told


def _cycle() -> Any:
    inside: dict[str, Any] = {"a": []}
    inside["a"].append(inside)
    return inside


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class Plain:
    pass


@pytest.mark.parametrize(
    ("value", "place", "why"),
    [
        (math.nan, "input", "NaN"),
        ({"a": [1, math.inf]}, "input.a[1]", "infinities"),
        ({"a": {"b c": -math.inf}}, 'input.a["b c"]', "infinities"),
        (2**64, "input", "64 bits"),
        ([-(2**63) - 1], "input[0]", "64 bits"),
        (b"bytes", "input", "bytes"),
        ({"a": bytearray(b"x")}, "input.a", "bytearray"),
        ({1: 2}, "input", "text keys"),
        ({"a": {None: 2}}, "input.a", "text keys"),
        ("\ud800", "input", "surrogate"),
        ({"\udfff": 1}, "input", "surrogate"),
        (_cycle(), "input.a[0]", "contains itself"),
        (_deep(1000), "input[0][0]", "nested deeper"),
        (Plain(), "input", "Plain has no JSON form"),
        ({"f": print}, "input.f", "no JSON form"),
        (1j, "input", "complex"),
        ({"a": Decimal("NaN")}, None, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_hold_is_refused_where_it_stands(
    engine: blitz.Engine, value: Any, place: str | None, why: str | None
) -> None:
    scripted(engine, "hi")
    if place is None:
        # Text, as a decimal is; it is the engine that says whether it is money.
        with pytest.raises(blitz.InvalidInputError):
            engine.budgets.put("b", "user", limit=value["a"])
        return
    with pytest.raises(blitz.InvalidInputError, match=why) as caught:
        engine.run("a", value)
    assert isinstance(caught.value, ValueError)
    assert caught.value.details["path"].startswith(place)
    assert str(caught.value).startswith(place) and len(str(caught.value)) < 300
    assert engine.executions.list() == blitz.Page([]), "nothing began"


def test_a_result_that_is_no_json_is_told_to_the_model(engine: blitz.Engine) -> None:
    @engine.tool
    def odd(what: str) -> Any:
        return {"nan": math.nan, "bytes": [b"x"], "huge": 2**70, "cycle": _cycle()}[what]

    names = ("nan", "bytes", "huge", "cycle")
    scripted(engine, calls(*(("odd", {"what": name}) for name in names)), "done", tools=["odd"])
    done = engine.run("a", "x")
    assert done.output == "done"
    assert all(
        str(text).startswith("InvalidInputError: the result") or str(text).startswith("the result")
        for text in told(done)
    )


def test_json_goes_through_unchanged(engine: blitz.Engine) -> None:
    @engine.tool(effect="pure")
    def echo(value: Any) -> Any:
        return value

    values = [
        None,
        True,
        0,
        -(2**63),
        2**64 - 1,
        1.5,
        -0.0,
        1e300,
        "",
        "ünïcode 🎈\u0000",
        [],
        {},
        {"z": 1, "a": [None, {"deep": [1, 2.5, "x"]}]},
    ]
    scripted(engine, calls(*(("echo", {"value": value}) for value in values)), "done", tools=["echo"])
    given = told(engine.run("a", values))
    assert given == values
    assert [type(value) for value in given] == [type(value) for value in values]
    assert list(given[-1]) == ["z", "a"], "the order of keys is kept"
    assert engine.executions.get(1).input == values


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    tags: set[str]


def test_what_python_can_write_plainly_is_taken(engine: blitz.Engine) -> None:
    scripted(engine, "hi")
    moment = datetime(2026, 1, 2, tzinfo=timezone.utc)
    uuid = UUID("12345678123456781234567812345678")
    engine.run("a", [Color.RED, Point(1, {"t"}), (1, 2), moment, uuid, Path("a/b"), Decimal("0.10"), {"k": 1}.keys()])
    expected = ["red", {"x": 1, "tags": ["t"]}, [1, 2], "2026-01-02T00:00:00+00:00", str(uuid), "a/b", "0.10", ["k"]]
    assert engine.executions.get(1).input == expected


def test_every_code_has_an_exception() -> None:
    assert len(_native.error_codes()) >= 20
    for number, code, meaning, retryable in _native.error_codes():
        made = _errors.CLASSES[code]
        assert getattr(blitz, made.__name__) is made and made.__name__ in blitz.__all__
        assert issubclass(made, blitz.BlitzError) and made.__module__ == "blitz"
        error = _errors.make(code, "it went wrong", retryable, {"a": [1]})
        assert (error.code, error.number, error.retryable, error.details) == (code, number, retryable, {"a": [1]})
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is made and again.__dict__ == error.__dict__ and str(again) == "it went wrong"
        assert made("x").retryable == retryable and made.__doc__ == meaning
        assert copy.copy(error).details == {"a": [1]}


def test_exceptions_are_the_builtins_that_mean_the_same(engine: blitz.Engine) -> None:
    with pytest.raises(LookupError) as missing:
        engine.agents.get("nobody")
    assert isinstance(missing.value, blitz.NotFoundError) and missing.value.code == "not_found"
    with pytest.raises(ValueError):
        engine.agents.put("", "m")
    natural = {blitz.TimeoutError: TimeoutError, blitz.PermissionDeniedError: PermissionError}
    natural |= {blitz.UnavailableError: ConnectionError, blitz.StorageError: OSError}
    assert all(issubclass(ours, theirs) for ours, theirs in natural.items())


def test_values_are_frozen_compare_pickle_and_print_in_one_line(engine: blitz.Engine) -> None:
    scripted(engine, {"text": "hi", "usage": {"input_tokens": 3, "output_tokens": 2}})
    handle = engine.start("a", {"x": 1})
    events = list(handle.events())
    done = handle.wait()
    engine.prompts.put("p", "Hello {{ name }}")
    engine.budgets.put("b", "execution", limit="1")
    values = [
        done,
        done.usage,
        done.messages[0],
        *events,
        engine.agents.get("a"),
        engine.models.list(),
        engine.executions.list()[0],
        *engine.executions.steps(done.execution_id),
        *engine.costs.list(),
        engine.costs.summary(),
        *engine.audit.list(),
        engine.audit.verify(),
        engine.prompts.version("p", 1),
        engine.budgets.list()[0],
        *engine.budgets.windows(1),
        engine.users.create("ana@example.com", "sk-canary long passphrase"),
    ]
    assert len({type(value) for value in values}) >= 14
    for value in values:
        again = pickle.loads(pickle.dumps(value))
        assert again == value and type(again) is type(value) and hash(again) == hash(value)
        assert copy.deepcopy(value) == value
        assert "\n" not in repr(value) and len(repr(value)) < 400, repr(value)
        assert repr(value).startswith(type(value).__name__)
        for act in (
            lambda v: setattr(v, "status", "x"),
            lambda v: delattr(v, "status"),
            lambda v: setattr(v, "new", 1),
        ):
            with pytest.raises(AttributeError, match="frozen"):
                act(value)
        assert value != object() and value != 5
    assert done.usage.total_tokens == 5 and done["usage"] == done.usage
    assert done.to_dict()["usage"]["input_tokens"] == 3
    assert events[-1].type == "execution.finished" and isinstance(events[0].ts, datetime)
    assert done.error is None and "output" in dir(done)
    with pytest.raises(AttributeError, match="no field 'ouput'"):
        _ = done.ouput  # type: ignore[attr-defined]
    with pytest.raises(KeyError):
        _ = done["ouput"]


def test_a_failed_outcome_raises_when_asked(engine: blitz.Engine) -> None:
    scripted(engine, {"error": {"code": "provider_auth", "message": "no key"}}, "fine")
    failed = engine.run("a", "x")
    assert failed.status == "failed" and failed.error is not None and failed.error.code == "provider_auth"
    with pytest.raises(blitz.ProviderAuthError, match="no key"):
        failed.raise_for_status()
    assert engine.run("a", "x").raise_for_status().output == "fine"


def test_html_is_escaped(engine: blitz.Engine) -> None:
    evil = "<script>alert('x')</script>"
    scripted(engine, evil)
    done = engine.run("a", {evil: evil})
    pages = [
        done._repr_html_(),
        engine.executions.list()._repr_html_(),
        engine.executions.get(1)._repr_html_(),
        engine.costs.list()._repr_html_(),
        engine.costs.summary()._repr_html_(),
        done.usage._repr_html_(),
        engine.agents.list()._repr_html_(),
    ]
    for page in pages:
        assert page.startswith("<table>") and "<script" not in page
    assert "&lt;script&gt;" in pages[0] and "total_tokens" in pages[5]


def test_a_frame_needs_a_library(engine: blitz.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match="pip install"):
        engine.costs.list().to_frame()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_have_the_types_of_their_library(
    library: str, engine: blitz.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed: pip install {library} to try its frames")
    if library == "polars":
        monkeypatch.setitem(sys.modules, "pandas", None)
    price = blitz.price_per_million(input="2.50", output="10")
    engine.models.put("m", "scripted", model_name="any", price=price)
    scripted(engine, "hi", '{"city": "Oslo"}', "ho")
    engine.run("a", "x")
    engine.run("a", "x", output_schema={"type": "object"})
    engine.run("a", {"text": "x"})

    entries = engine.costs.list().to_frame()
    assert type(entries).__module__.startswith(library) and "usage" not in entries.columns
    settled = [amount for kind, amount in zip(entries["kind"], entries["amount"], strict=True) if kind == "settle"]
    assert all(isinstance(amount, Decimal) for amount in settled)
    assert sum(settled) == engine.costs.summary().cost > 0
    assert entries["input_tokens"].sum() == engine.costs.summary().usage.input_tokens
    assert (entries["at"].max() - entries["at"].min()).total_seconds() >= 0

    executions = engine.executions.list().to_frame()
    assert len(executions) == 3 and set(executions["status"]) == {"completed"}
    assert len(engine.users.list().to_frame()) == 0


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_without_rows_has_its_columns(
    library: str, engine: blitz.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed: pip install {library} to try its frames")
    if library == "polars":
        monkeypatch.setitem(sys.modules, "pandas", None)
    page = engine.costs.list()
    for entries in (page, pickle.loads(pickle.dumps(page))):
        frame = entries.to_frame()
        assert len(frame["amount"]) == len(frame["input_tokens"]) == 0 and "usage" not in frame.columns
    assert {"calls", "cost"} <= set(engine.usage.query(by=["model"]).to_frame().columns)
    scripted(engine, "hi")
    engine.run("a", "x")
    assert set(page.to_frame().columns) <= set(engine.costs.list().to_frame().columns)


def test_a_value_keeps_its_hash_whatever_becomes_of_its_lists(engine: blitz.Engine) -> None:
    scripted(engine, '{"a": 1}')
    done = engine.run("a", "x", output_schema={"type": "object"})
    same, known = blitz.Outcome(done.to_dict()), {done}
    assert same in known
    done.output["a"] = 99
    assert done in known


def test_what_has_no_json_is_named_with_its_article(engine: blitz.Engine) -> None:
    scripted(engine)
    for given, why in (({1: "a"}, "a key is an int"), (object(), "an object has no JSON"), (b"", "a bytes has no JSON")):
        with pytest.raises(blitz.InvalidInputError, match=why):
            engine.run("a", given)


def test_what_is_neither_an_id_nor_a_name_is_told_so(engine: blitz.Engine) -> None:
    expected = ("an id, which is a whole number, or a name", "named by its name, its id or owner/name", "past 64 bits")
    for given in (None, 1.5, True, [], {}, 2**63):
        for ask in (
            lambda given: engine.agents.get(given),
            lambda given: engine.models.delete(given),
            lambda given: engine.workflows.publish(given),
            lambda given: engine.triggers.enable(given),
            lambda given: engine.run(given, "x"),
            lambda given: engine.start(given, "x"),
            lambda given: list(engine.stream(given, "x")),
        ):
            with pytest.raises(blitz.InvalidInputError) as refused:
                ask(given)
            assert any(text in str(refused.value) for text in expected), (given, refused.value)


def test_a_place_past_64_bits_is_a_typed_error(engine: blitz.Engine) -> None:
    handle = engine.execution(1)
    for after in (2**70, -(2**70)):
        for ask in (engine.executions.events, engine.executions.aevents, engine.events, engine.aevents):
            with pytest.raises(blitz.InvalidInputError):
                ask(1, after=after)
        for own in (handle.events, handle.aevents):
            with pytest.raises(blitz.InvalidInputError):
                own(after=after)
        with pytest.raises(blitz.InvalidInputError):
            engine.execution(after)


def test_a_page_is_asked_for_beside_the_others_or_whole(engine: blitz.Engine) -> None:
    for name in ("a", "b", "c"):
        engine.agents.put(name, "m")
    one = engine.agents.list(limit=2)
    assert [agent.name for agent in one] == ["a", "b"]
    assert [agent.name for agent in engine.agents.list(cursor=one.next_cursor)] == ["c"]
    assert len(engine.executions.list(limit=1)) == len(engine.executions.list(page={"limit": 1})) == 0
