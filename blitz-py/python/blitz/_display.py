"""Values as HTML tables for notebooks, every text escaped, and as DataFrames."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Any

from . import _native

if TYPE_CHECKING:
    from ._value import Value
    from ._values import ExecutionRecord, Outcome

_LONGEST = 200
_MOST_ROWS = 100


def _text(value: Any) -> str:
    if value is None:
        return ""
    plain = isinstance(value, (str, Decimal, datetime))
    text = str(value) if plain else json.dumps(value, ensure_ascii=False, default=str)
    return escape(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of records, one column a field."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(row.get(name))}</td>" for name in columns) + "</tr>" for row in rows[:_MOST_ROWS]
    )
    more = f"<p>and {len(rows) - _MOST_ROWS} more</p>" if len(rows) > _MOST_ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def rows(values: Sequence[Value]) -> list[dict[str, Any]]:
    """The fields of values, moments and money as such."""
    made = (Decimal, datetime)
    shown = ({name: getattr(value, name) for name in value._made} for value in values)
    moments = ({name: field for name, field in each.items() if isinstance(field, made)} for each in shown)
    return [{**value.to_dict(), **each} for value, each in zip(values, moments, strict=True)]


def _sheet(rows: Iterable[tuple[str, Any]]) -> str:
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{_text(value)}</td></tr>"
        for name, value in rows
    )
    return f"<table>{cells}</table>"


def outcome(value: Outcome[Any]) -> str:
    """An outcome as a sheet of its fields."""
    data = value.to_dict()
    usage = f"{data['usage']['input_tokens']} in, {data['usage']['output_tokens']} out"
    rows = [("execution", data["execution_id"]), ("status", data["status"]), ("output", data["output"])]
    rows += [("error", data["error"]["message"])] if data["error"] else []
    return _sheet([*rows, ("tokens", usage), ("cost", data["cost"]), ("steps", data["steps"])])


def execution(value: ExecutionRecord) -> str:
    """An execution as a sheet of its fields."""
    names = ("id", "name", "status", "input", "output", "error", "cost", "created_at", "finished_at")
    shown = ((name, getattr(value, name)) for name in names)
    return _sheet(shown)


def workflow(value: Value) -> str:
    """A workflow as a sheet of its fields and its picture."""
    data = value.to_dict()
    names = ("name", "description", "version", "revision")
    return _sheet((name, data[name]) for name in names if data.get(name)) + picture(data)


def picture(definition: Mapping[str, Any]) -> str:
    """The picture of a definition; every text in it is escaped."""
    known = {name: definition[name] for name in ("name", "nodes", "edges") if name in definition}
    return _native.draw(known, "svg")


def frame(values: Iterable[Any], kind: Any = None) -> Any:
    """A DataFrame of values: of pandas, or of polars where only that is there.

    Money is :class:`decimal.Decimal`, a moment is one of the library's own, usage has columns of its own. The
    columns of a class's own fields are there without a row, too.
    """
    rows = [_row(value) for value in values]
    names = dict.fromkeys([*_columns(kind), *(name for row in rows for name in row)])
    columns = {name: [row.get(name) for row in rows] for name in names}
    try:
        import pandas  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        pass
    else:
        return pandas.DataFrame(columns)
    try:
        import polars  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ImportError("a DataFrame needs pandas or polars: pip install 'blitz-engine[notebook]'") from None
    # Its columns have one type each, and lists and objects of the engine's need not be alike.
    return polars.DataFrame({name: [_scalar(value) for value in column] for name, column in columns.items()}, strict=False)


def _columns(kind: Any) -> list[str]:
    fields = [name for each in reversed(kind.__mro__) for name in each.__dict__.get("__annotations__", ())] if kind else []
    known = [name for name in dict.fromkeys(fields) if not name.startswith("_")]
    return [column for name in known for column in (_columns(kind._made["usage"]) if name == "usage" else [name])]


def _row(value: Any) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, plain in value.to_dict().items():
        if name == "usage":
            row.update(plain or {})
        else:
            row[name] = plain if isinstance(plain, (list, dict)) else getattr(value, name)
    return row


def _scalar(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
