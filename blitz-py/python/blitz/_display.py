"""Values as HTML tables for notebooks, every text escaped, and as DataFrames."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._values import ExecutionRecord, Outcome

_LONGEST = 200
_MOST_ROWS = 100


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
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
    return _sheet((name, str(field) if field is not None and name.endswith("_at") else field) for name, field in shown)


def frame(values: Iterable[Any]) -> Any:
    """A DataFrame of values: of pandas, or of polars where only that is there."""
    rows = [_flat(value.to_dict()) for value in values]
    try:
        import pandas  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        pass
    else:
        return pandas.DataFrame(rows)
    try:
        import polars  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ImportError("a DataFrame needs pandas or polars: pip install 'blitz-engine[notebook]'") from None
    return polars.DataFrame(rows)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A record with its usage as columns of their own."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "usage" and isinstance(value, Mapping):
            flat.update(value)
        else:
            flat[name] = value
    return flat
