"""Types and signatures as schemas, and JSON as values of those types."""

from __future__ import annotations

import dataclasses
import enum
import json
import pickle
import sys
import threading
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any, Literal, Optional, TypedDict, Union

import blitz
import pytest
from blitz._schema import shape_of
from blitz._tools import FunctionSpec
from conftest import calls, scripted, told
from typing_extensions import NotRequired


class Severity(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Place(TypedDict):
    file: str
    line: NotRequired[int]


@dataclasses.dataclass
class Finding:
    """Something that was found."""

    title: str
    severity: Severity
    places: list[Place]
    score: float = 0.5
    cause: Optional[Finding] = None  # noqa: UP045


def spec(function: Any, **options: Any) -> FunctionSpec:
    named = {"name": None, "description": None, "input_schema": None, "local": None} | options
    return FunctionSpec(function, **named)


@pytest.mark.parametrize(
    ("kind", "schema", "given", "read"),
    [
        (str, {"type": "string"}, "x", "x"),
        (int, {"type": "integer"}, 2.0, 2),
        (float, {"type": "number"}, 2, 2.0),
        (bool, {"type": "boolean"}, True, True),
        (None, {"type": "null"}, None, None),
        (Any, {}, {"a": 1}, {"a": 1}),
        (list[int], {"type": "array", "items": {"type": "integer"}}, [1], [1]),
        (Sequence[str], {"type": "array", "items": {"type": "string"}}, ["x"], ["x"]),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}, [1, 2], (1, 2)),
        (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}, ["x"], {"x"}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": 1}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None, None),  # noqa: UP045
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "x", "x"),
        (Union[Severity, int], {"anyOf": [{"enum": ["low", "high"]}, {"type": "integer"}]}, 3, 3),  # noqa: UP007
        (Literal["a", 1], {"enum": ["a", 1]}, 1, 1),
        (Severity, {"enum": ["low", "high"]}, "high", Severity.HIGH),
        (Annotated[int, "How many."], {"type": "integer", "description": "How many."}, 1, 1),
        (date, {"type": "string", "format": "date"}, "2026-01-02", date(2026, 1, 2)),
        (Decimal, {"type": "string"}, "0.10", Decimal("0.10")),
    ],
    ids=str,
)
def test_types_are_schemas_and_read_json(kind: Any, schema: Any, given: Any, read: Any) -> None:
    shape = shape_of(kind)
    assert shape.schema == schema
    result = shape.read(given)
    assert result == read and type(result) is type(read)


def test_classes_are_objects_that_may_hold_themselves() -> None:
    shape = shape_of(Finding)
    assert shape.schema["description"] == "Something that was found."
    assert shape.schema["required"] == ["title", "severity", "places"]
    assert shape.schema["additionalProperties"] is False
    assert shape.schema["$defs"]["Place"]["required"] == ["file"]
    inner = {"title": "b", "severity": "low", "places": []}
    read = shape.read({"title": "a", "severity": "high", "places": [{"file": "f"}], "cause": inner})
    assert read == Finding("a", Severity.HIGH, [{"file": "f"}], cause=Finding("b", Severity.LOW, []))
    with pytest.raises(ValueError, match=r"\.places\[0\]: file is missing"):
        shape.read({"title": "a", "severity": "high", "places": [{}]})


@pytest.mark.parametrize("kind", [bytes, dict[int, str], complex, object(), "x y", Literal[b"x"]], ids=repr)
def test_what_has_no_schema_is_refused_by_name(kind: Any) -> None:
    with pytest.raises(blitz.InvalidInputError):
        shape_of(kind)


def test_a_signature_and_its_docstring_are_the_schema() -> None:
    def search(query: str, limit: int = 5, *, kinds: list[Severity] | None = None) -> None:
        """Searches the archive.

        Takes its time.

        Args:
            query: What to look for,
                in any language.
            limit (int): How many at most.

        Returns:
            Nothing that a model needs to know of here.
        """

    made = spec(search)
    assert made.name == "search" and made.description == "Searches the archive.\n\nTakes its time."
    properties = made.input_schema["properties"]
    assert properties["query"] == {"type": "string", "description": "What to look for, in any language."}
    assert properties["limit"] == {"type": "integer", "description": "How many at most.", "default": 5}
    assert made.input_schema["required"] == ["query"] and made.input_schema["additionalProperties"] is False


def test_other_ways_of_docstrings() -> None:
    def sphinx(a: int, b: int) -> None:
        """Adds.

        :param a: the first
        :param int b: the second,
            which is longer
        :returns: the sum
        """

    def numpy(a: int, b: int) -> None:
        """Adds.

        Parameters
        ----------
        a : int
            the first
        b : int
            the second,
            which is longer

        Returns
        -------
        int
        """

    for function in (sphinx, numpy):
        made = spec(function)
        described = [field["description"] for field in made.input_schema["properties"].values()]
        assert (made.description, described) == ("Adds.", ["the first", "the second, which is longer"])


def test_signatures_that_no_model_can_call_are_refused(engine: blitz.Engine) -> None:
    def stars(*numbers: int) -> None: ...

    def unknown(a: Nowhere) -> None: ...  # type: ignore[name-defined] # noqa: F821

    def raw(a: bytes) -> None: ...

    for function in (stars, unknown, raw):
        with pytest.raises(blitz.InvalidInputError):
            engine.tool(function)
    with pytest.raises(blitz.InvalidInputError):
        engine.register(lambda: 1, name="no spaces please")
    for options in ({"effect": "harmless"}, {"timeout": -1.0}, {"timeout": float("nan")}, {"timeout": 0.0}):
        with pytest.raises(blitz.InvalidInputError):
            engine.register(lambda: 1, name="fine", **options)  # type: ignore[arg-type]


def test_arguments_come_as_the_types_that_are_annotated(engine: blitz.Engine) -> None:
    @dataclasses.dataclass
    class Local:
        x: int

    seen: list[Any] = []

    @engine.tool
    def take(finding: Finding, local: Local, when: date, rest: tuple[int, str] = (1, "x")) -> Finding:
        seen.extend([finding, local, when, rest])
        return finding

    finding = {"title": "a", "severity": "low", "places": [], "score": 1}
    first = calls(("take", {"finding": finding, "local": {"x": 1}, "when": "2026-01-02"}))
    second = calls(("take", {"finding": finding, "local": {"x": 1}, "when": "no date"}))
    scripted(engine, first, second, "done", tools=["take"])
    done = engine.run("a", "x")
    assert seen == [Finding("a", Severity.LOW, [], 1.0), Local(1), date(2026, 1, 2), (1, "x")]
    assert told(done)[0] == finding | {"score": 1.0, "cause": None}
    assert "the arguments do not fit" in told(done)[1]


def test_b13_b14_an_output_type_that_is_no_object_goes_out_inside_one(engine: blitz.Engine) -> None:
    asked: list[Any] = []
    answers: list[Any] = [[1, 2], "high", "any word"]

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            message = {"role": "assistant", "content": json.dumps({"answer": answers[len(asked) - 1]})}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            body = json.dumps({"choices": choices}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        engine.models.put("m", "openai", model_name="gpt-4o", base_url=f"http://127.0.0.1:{server.server_address[1]}")
        engine.agents.put("a", "m")
        assert engine.run("a", "x", output_type=list[int]).output == [1, 2]
        assert engine.run("a", "x", output_type=Severity).output is Severity.HIGH
        assert engine.run("a", "x", output_type=Literal["any word", "none"]).output == "any word"
    finally:
        server.shutdown()
        server.server_close()
    for request in asked:
        sent = request["response_format"]["json_schema"]
        assert sent["strict"] is True and sent["schema"]["type"] == "object", sent
        assert sent["schema"]["required"] == ["answer"] and "type" in sent["schema"]["properties"]["answer"]


def test_output_types_are_checked_values(engine: blitz.Engine) -> None:
    answer = '{"title": "a", "severity": "high", "places": [{"file": "f", "line": 2}]}'
    scripted(engine, answer, "[1, 2]", '"high"', '{"title": 5}', answer, retry={"max_attempts": 1})
    done = engine.run("a", "x", output_type=Finding)
    assert done.output == Finding("a", Severity.HIGH, [{"file": "f", "line": 2}])
    assert engine.run("a", "x", output_type=list[int]).output == [1, 2]
    assert engine.start("a", "x", output_type=Severity).wait().output is Severity.HIGH
    corrected = engine.run("a", "x", output_type=Finding)
    assert corrected.output.title == "a" and corrected.usage.requests == 2
    with pytest.raises(TypeError, match="give one"):
        engine.run("a", "x", output_type=int, output_schema={"type": "integer"})


def test_an_output_is_of_its_type_while_it_streams(engine: blitz.Engine) -> None:
    answer = (
        '{"title": "a long one", "severity": "high", "places": [{"file": "f", "line": 2}, {"file": "g"}],'
        ' "cause": {"title": "b", "severity": "low", "places": []}}'
    )
    scripted(engine, answer, answer, "[1, 2, 3]", answer)
    events = list(engine.stream("a", "x", output_type=Finding))
    some = [event.partial for event in events if event.type == "model.partial"]
    assert len(some) > 3 and all(one.keys() <= {"title", "severity", "places", "score", "cause"} for one in some)
    assert some[0] in ({}, {"title": "a "})
    # Each field is a value of its type as soon as it is one; before, it is as plain as it came.
    assert {type(one["severity"]) for one in some if "severity" in one} <= {Severity, str}
    assert some[-1]["severity"] is Severity.HIGH and some[-1]["places"] == [{"file": "f", "line": 2}, {"file": "g"}]
    assert some[-1]["cause"]["severity"] is Severity.LOW
    plain = [event.data["output"] for event in events if event.type == "model.partial"]
    assert plain[-1]["severity"] == "high" and len(plain) == len(some)
    assert all(event.partial is None for event in events if event.type != "model.partial")
    kept = next(event for event in events if event.type == "model.partial")
    assert pickle.loads(pickle.dumps(kept)) == kept

    handle = engine.start("a", "x", output_type=Finding)
    assert handle.wait().output.severity is Severity.HIGH
    numbers = [event.partial for event in engine.stream("a", "x", output_type=tuple[int, int, int]) if event.partial]
    assert numbers[-1] == [1, 2, 3]
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    untyped = [event.partial for event in engine.stream("a", "x", output_schema=schema) if event.partial]
    assert untyped[0] == {"title": "a "}


def test_what_is_no_value_of_its_type_yet_stays_plain() -> None:
    @dataclasses.dataclass
    class Half:
        when: date
        amount: Decimal
        either: Union[Place, Severity, None] = None  # noqa: UP007

    half = shape_of(Half)
    assert half.so_far({}) == {}
    assert half.so_far({"when": "2026-0", "amount": "1."}) == {"when": "2026-0", "amount": Decimal("1")}
    assert half.so_far({"when": "2026-01-02"}) == {"when": date(2026, 1, 2)}
    assert half.so_far({"either": {"line": 1}}) == {"either": {"line": 1}}
    assert half.so_far({"either": "low"}) == {"either": Severity.LOW}
    assert half.so_far({"other": 1}) == {"other": 1}
    assert half.so_far("text") == "text"
    assert shape_of(dict[str, list[Severity]]).so_far({"a": ["low", "hi"]}) == {"a": [Severity.LOW, "hi"]}


def test_an_output_that_its_type_refuses_is_bad_output(engine: blitz.Engine) -> None:
    @dataclasses.dataclass
    class Even:
        x: int

        def __post_init__(self) -> None:
            if self.x % 2:
                raise ValueError("x is odd")

    scripted(engine, '{"x": 3}', {"error": {"code": "refused", "message": "no"}})
    with pytest.raises(blitz.BadOutputError, match="no Even: x is odd") as caught:
        engine.run("a", "x", output_type=Even)
    assert engine.executions.outcome(caught.value.details["execution_id"]).output == {"x": 3}
    failed = engine.run("a", "x", output_type=Even)
    assert failed.status == "failed" and failed.output is None


def test_pydantic_models_where_pydantic_is_there(engine: blitz.Engine) -> None:
    pydantic = pytest.importorskip("pydantic")

    class Item(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        name: str
        count: int = pydantic.Field(ge=1, description="How many.")

    class Order(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        items: list[Item]

    @engine.tool
    def total(order: Order, others: list[Item]) -> Item:
        return Item(name="all", count=sum(item.count for item in [*order.items, *others]))

    item = {"name": "x", "count": 2}
    scripted(
        engine,
        calls(("total", {"order": {"items": [item]}, "others": [item]})),
        '{"items": [{"name": "y", "count": 1}]}',
        tools=["total"],
    )
    done = engine.run("a", Item(name="x", count=1), output_type=Order)
    assert told(done) == [{"name": "all", "count": 4}]
    assert done.output == Order(items=[Item(name="y", count=1)])
    assert engine.executions.get(1).input == {"name": "x", "count": 1}


def test_pydantic_is_never_imported() -> None:
    import subprocess

    code = (
        "import blitz, sys\n"
        "blitz.Engine(':memory:').tools.register(lambda x: 1, name='f'); print('pydantic' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


def test_text_as_the_output_type_is_what_the_model_wrote(engine: blitz.Engine) -> None:
    scripted(engine, "hello there", '"quoted"')
    done = engine.run("a", "x", output_type=str)
    assert done.output == "hello there" and done.usage.requests == 1
    assert engine.run("a", "x", output_type=str).output == '"quoted"'
