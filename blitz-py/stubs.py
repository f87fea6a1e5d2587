"""Prints the stubs that follow from the engine's tables: ``_nouns.pyi`` and ``_errors.pyi``.

``python stubs.py`` compares them with what is there, ``python stubs.py --write`` writes them.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

from blitz import Session, _errors, _native, _nouns, _values

FOLDER = Path(__file__).parent / "python" / "blitz"

HEAD = """\
# Printed by stubs.py from the engine's method table: `make py-stubs` writes it anew.
import builtins
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from ._execution import ExecutionHandle
from ._records import (
    Alert,
    AuditExport,
    AuditRedaction,
    AuditSegment,
    BudgetRaise,
    BudgetRevision,
    Delivery,
    Embeddings,
    EnabledTrigger,
    Firing,
    IssuedKey,
    KeyRecord,
    ListedPrice,
    NodeState,
    PasswordReset,
    PriceVersion,
    RateLimit,
    Rerated,
    RerunAs,
    RoleRecord,
    SecretName,
    SessionRecord,
    TagPolicy,
    TimelineEntry,
    TokenKey,
    Tokens,
    UsageReport,
    Webhook,
)
from ._session import Session
from ._values import (
    AuditCheck,
    AuditRecord,
    Budget,
    BudgetWindow,
    CostSummary,
    ExecutionRecord,
    ImportedPrices,
    ImportedWorkflow,
    LedgerEntry,
    Outcome,
    Page,
    PromptVersion,
    Record,
    Share,
    Step,
    User,
    Validation,
    WorkflowDiff,
    WorkflowVersion,
)

NOUNS: dict[str, str]
DELEGATED: dict[str, str]
OWN: dict[str, dict[str, str]]

class Noun:
    def __init__(self, session: Session) -> None: ...

class Parameters:
    properties: dict[str, Any]
    required: frozenset[str]
    positional: list[str]
    fields: dict[str, str]
    doc: str
    def __init__(self, row: dict[str, Any]) -> None: ...
    def read(self, verb: str, given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]: ...
    def signature(self) -> Any: ...

def noun(name: str, session: Session) -> Noun: ...
def plain_of(verb: str) -> str: ...
def twin_of(verb: str) -> str: ...
def value_class(title: str) -> str: ...
"""

PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None", "uint64": "int"}
NAMED = {
    "Money": "Decimal | str | float",
    "Rate": "Decimal | str | float",
    "Timestamp": "datetime | int",
    "Secret": "str",
    "ResourceRef": "int | str",
}


def annotation(schema: Any, defs: dict[str, Any]) -> str:
    """The Python type of what a schema takes."""
    if not isinstance(schema, dict):
        return "Any"
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return NAMED.get(name) or annotation(defs[name], defs)
    if "enum" in schema:
        return "Literal[" + ", ".join(repr(value) for value in schema["enum"]) + "]"
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        if all("const" in each for each in alternatives):
            return "Literal[" + ", ".join(f'"{each["const"]}"' for each in alternatives) + "]"
        return " | ".join(dict.fromkeys(annotation(each, defs) for each in alternatives))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(annotation({**schema, "type": each}, defs) for each in kind)
    if kind == "array":
        return f"Sequence[{annotation(schema.get('items'), defs)}]"
    if kind == "object":
        return "Mapping[str, Any]"
    return PLAIN.get(kind or "", "Any")


def result(schema: dict[str, Any]) -> str:
    """The Python type of what a method gives."""
    title = schema.get("title", "")
    if title == "Page":
        return f"Page[{_nouns.value_class(schema['properties']['items']['items']['$ref'].rpartition('/')[2])}]"
    if title.startswith("Array_of_"):
        inner = title.removeprefix("Array_of_")
        if inner == "NodeTypeInfo":
            return "builtins.list[dict[str, Any]]"
        return f"builtins.list[{inner}]" if hasattr(_values, inner) else "builtins.list[int]"
    if title == "Outcome":
        return "Outcome[Any]"
    if title == "AnyValue":
        return "dict[str, Any]"
    return PLAIN.get(title) or _nouns.value_class(title)


def method(row: dict[str, Any]) -> list[str]:
    """The two methods of a row."""
    name, verb = row["name"], row["name"].partition(".")[2]
    if served := _nouns.DELEGATED.get(name):
        return [f"    {twin}{verb} = Session.{twin}{served}" for twin in ("", "a")]
    schema = row["input_schema"]
    parameters = _nouns.Parameters(row)
    parts = ["self"]
    for shown, field in sorted(parameters.fields.items(), key=lambda item: item[1] not in parameters.positional):
        if len(parts) == len(parameters.positional) + 1:
            parts.append("*")
        kind = annotation(parameters.properties[field], schema.get("$defs", {}))
        if field in parameters.required:
            parts.append(f"{shown}: {kind}")
        else:
            parts.append(f"{shown}: {kind}{'' if 'None' in kind or kind == 'Any' else ' | None'} = None")
    inside = "".join(f"        {part},\n" for part in parts)
    doc = "\n".join(f"        {line}".rstrip() for line in parameters.doc.splitlines()).strip()
    lines = []
    for start in (f"    def {_nouns.plain_of(verb)}", f"    async def {_nouns.twin_of(verb)}"):
        lines.append(f'{start}(\n{inside}    ) -> {result(row["output_schema"])}:\n        """{doc}"""')
    return lines


def nouns() -> str:
    """The stub of the nouns."""
    parts = [HEAD]
    for name, class_name in _nouns.NOUNS.items():
        parts.append(f'\nclass {class_name}(Noun):\n    """The {name} of the engine."""\n')
        for row in _native.methods(name):
            parts.append("\n".join(method(row)) + "\n")
        for shown, served in _nouns.OWN.get(name, {}).items():
            method_of = getattr(Session, served)
            signature = str(inspect.signature(method_of)).replace("'", "")
            parts.append(f'    def {shown}{signature}:\n        """{method_of.__doc__}"""\n')
    return "\n".join(parts)


def _base(base: type) -> str:
    return f"builtins.{base.__name__}" if base.__module__ == "builtins" else base.__name__


def errors() -> str:
    """The stub of the exceptions."""
    lines = [
        "# Printed by stubs.py from the engine's table of errors: `make py-stubs` writes it anew.",
        "import builtins",
        "from typing import Any",
        "",
        "class BlitzError(Exception):",
        '    """What every failure of the engine is."""',
        "",
        "    code: str",
        "    number: int",
        "    retryable: bool",
        "    details: Any",
        '    def __init__(self, message: str = "", *, retryable: bool | None = None, details: Any = None) -> None: ...',
        "    @property",
        "    def message(self) -> str: ...",
        "",
    ]
    for made in _errors.CLASSES.values():
        bases = ", ".join(_base(base) for base in made.__bases__)
        lines += [f"class {made.__name__}({bases}):", f'    """{made.__doc__}"""', ""]
    names = ["BlitzError", *(made.__name__ for made in _errors.CLASSES.values())]
    lines += ["__all__ = [", *(f'    "{name}",' for name in names), "]", ""]
    lines += [
        "CLASSES: dict[str, type[BlitzError]]",
        "",
        "def make(code: str, message: str, retryable: bool, details: Any) -> BlitzError: ...",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Writes or compares the stubs."""
    stale = 0
    for name, text in (("_nouns.pyi", nouns()), ("_errors.pyi", errors())):
        path = FOLDER / name
        if "--write" in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{path.name} is not what the tables say: `make py-stubs` writes it anew")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
