"""Which class JSON becomes where there are several: unions, generic classes, pydantic models."""

from __future__ import annotations

import dataclasses
import enum
from datetime import date
from typing import Annotated, Any, Generic, Literal, Optional, TypedDict, TypeVar, Union

import blitz
import pytest
from blitz._schema import shape_of
from conftest import calls, scripted, told
from typing_extensions import TypedDict as GenericTypedDict

T = TypeVar("T")


@dataclasses.dataclass
class Point:
    x: int


@dataclasses.dataclass
class Spot:
    x: int
    y: int


@dataclasses.dataclass
class Left:
    x: int = 0


@dataclasses.dataclass
class Right:
    y: int = 0


class Half(TypedDict):
    x: int


class Whole(TypedDict):
    x: int
    y: int


@dataclasses.dataclass
class Box(Generic[T]):
    item: T


@dataclasses.dataclass
class Crate(Box[list[T]], Generic[T]):
    label: Optional[T] = None  # noqa: UP045


@dataclasses.dataclass
class Numbers(Crate[int]):
    pass


@dataclasses.dataclass
class Tree(Generic[T]):
    item: T
    kids: list[Tree[T]]


class Row(GenericTypedDict, Generic[T]):
    cell: T


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("kind", "given", "read"),
    [
        (Union[Point, Spot], {"x": 1, "y": 2}, Spot(1, 2)),
        (Union[Left, Right], {"y": 7}, Right(7)),
        (Union[list[Left], list[Right]], [{"y": 7}], [Right(7)]),
        (list[Union[Half, Whole]], [{"x": 1, "y": 2}], [{"x": 1, "y": 2}]),
        (Union[int, float], 2.0, 2.0),
        (Union[float, int], 2, 2),
        (Literal[1, True], True, True),
        (Literal[True, 1], 1, 1),
    ],
    ids=str,
)
def test_a_union_loses_nothing_of_what_was_given(kind: Any, given: Any, read: Any) -> None:
    made = shape_of(kind).read(given)
    assert made == read and type(made) is type(read)


def test_a_union_of_an_output_and_of_an_argument(engine: blitz.Engine) -> None:
    @engine.tool
    def take(side: Union[Left, Right]) -> str:  # noqa: UP007
        return repr(side)

    scripted(engine, calls(("take", {"side": {"y": 7}})), '{"x": 1, "y": 2}', tools=["take"])
    done = engine.run("a", "x", output_type=Union[Point, Spot])
    assert told(done) == ["Right(y=7)"] and done.output == Spot(1, 2)


def test_an_integer_is_not_made_of_a_float_that_is_none() -> None:
    assert shape_of(int).read(float(2**53)) == 2**53
    for given in (1e300, float(2**54), 1.5):
        with pytest.raises(ValueError, match="an integer is expected"):
            shape_of(int).read(given)


@pytest.mark.parametrize(
    ("kind", "given", "read", "wrong"),
    [
        (Box[int], {"item": 1}, Box(1), {"item": "no int"}),
        (Box[Point], {"item": {"x": 1}}, Box(Point(1)), {"item": 1}),
        (Box[list[Point]], {"item": [{"x": 1}]}, Box([Point(1)]), {"item": [1]}),
        (Crate[int], {"item": [1], "label": 2}, Crate([1], 2), {"item": 1}),
        (Numbers, {"item": [1]}, Numbers([1]), {"item": ["x"]}),
        (Tree[int], {"item": 1, "kids": [{"item": 2, "kids": []}]}, Tree(1, [Tree(2, [])]), {"item": "x", "kids": []}),
        (Row[Point], {"cell": {"x": 1}}, {"cell": Point(1)}, {"cell": "x"}),
        (list[Union[Box[Point], Box[int]]], [{"item": 1}], [Box(1)], [{"item": "x"}]),
    ],
    ids=str,
)
def test_generic_classes_hold_what_their_arguments_say(kind: Any, given: Any, read: Any, wrong: Any) -> None:
    shape = shape_of(kind)
    assert shape.read(given) == read
    with pytest.raises(ValueError, match="expected|no alternative"):
        shape.read(wrong)


def test_a_generic_output_is_checked_by_the_engine(engine: blitz.Engine) -> None:
    scripted(engine, '{"item": "no int"}', '{"item": 3}')
    done = engine.run("a", "x", output_type=Box[int])
    assert done.output == Box(3) and done.usage.requests == 2


def test_models_of_pydantic_in_unions_and_with_arguments(engine: blitz.Engine) -> None:
    pydantic = pytest.importorskip("pydantic")

    class A(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        x: int = 0

    class B(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        y: int = pydantic.Field(0, alias="why")

    class Around(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        inner: A = A()

    class Beside(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        inner: B = B()

    class Held(pydantic.BaseModel, Generic[T]):  # type: ignore[name-defined,misc]
        item: T

    beside = {"inner": {"why": 3}}
    for kind, given, read in (
        (Union[A, B], {"why": 1}, B(why=1)),
        (Union[list[A], list[B]], [{"why": 1}], [B(why=1)]),
        (Union[A, Right], {"y": 1}, Right(1)),
        (Union[Around, Beside], beside, Beside(inner=B(why=3))),
        (Union[dict[str, Around], dict[str, Beside]], {"k": beside}, {"k": Beside(inner=B(why=3))}),
        (Union[Box[Around], Box[Beside]], {"item": beside}, Box(Beside(inner=B(why=3)))),
    ):
        assert shape_of(kind).read(given) == read
    scripted(engine, '{"item": {"x": 2}}')
    assert engine.run("a", "x", output_type=Held[A]).output == Held[A](item=A(x=2))


def test_pydantic_is_strict_where_it_says_so_and_writes_its_aliases(engine: blitz.Engine) -> None:
    pydantic = pytest.importorskip("pydantic")

    class Strict(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        model_config = pydantic.ConfigDict(strict=True)
        when: date
        colour: Colour
        pair: tuple[int, int]

    class Named(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        first_name: str = pydantic.Field(alias="firstName")

    @engine.tool
    def same(person: Named) -> Named:
        return person

    answer = '{"when": "2026-01-02", "colour": "red", "pair": [1, 2]}'
    scripted(engine, calls(("same", {"person": {"firstName": "Ana"}})), answer, tools=["same"])
    done = engine.run("a", "x", output_type=Strict)
    assert done.output == Strict(when=date(2026, 1, 2), colour=Colour.RED, pair=(1, 2))
    assert told(done) == [{"firstName": "Ana"}]


def test_what_pydantic_says_of_a_parameter_counts(engine: blitz.Engine) -> None:
    pydantic = pytest.importorskip("pydantic")
    positive = Annotated[int, pydantic.Field(gt=0, description="How many.")]
    few = Annotated[list[Point], pydantic.Field(min_length=1)]

    def take(count: positive, points: few, other: Annotated[Optional[int], pydantic.Field(gt=0)] = None) -> str:  # type: ignore[valid-type] # noqa: UP045
        return repr((count, points, other))

    engine.tool(take)
    count = engine.tools.get("take").input_schema["properties"]["count"]
    assert count == {"type": "integer", "exclusiveMinimum": 0, "description": "How many."}
    good = {"count": 5, "points": [{"x": 1}]}
    wrong = [good | {"count": -5}, good | {"points": []}, good | {"other": -1}]
    scripted(engine, *[calls(("take", each)) for each in (good, *wrong)], "done", tools=["take"], limits={"max_turns": 9})
    first, *others = told(engine.run("a", "x"))
    assert first == "(5, [Point(x=1)], None)"
    assert len(others) == 3 and not any("Point" in each for each in others), others

    def given(count: int = pydantic.Field(5)) -> int:
        return count

    with pytest.raises(blitz.InvalidInputError, match=r"'count' of the tool 'given'.*Annotated\[…, Field\(…\)\] = 5"):
        engine.tool(given)
