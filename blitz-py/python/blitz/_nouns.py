"""The nouns (``engine.models``, ``engine.agents``, …), made from the engine's method table.

Each row of the table is a method and its ``a…`` twin; their keywords are the fields of the row's input
schema. A row that is new in the engine is there without a line here. ``_nouns.pyi`` is printed from the
same rows. Schemas take their time, so a method is made when it is first asked for.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _native, _values
from ._loop_lazy import settled
from ._workflow import Workflow

if TYPE_CHECKING:
    from ._session import Session

#: The nouns that a session has, each with the name of its class.
NOUNS = {
    "models": "Models",
    "prompts": "Prompts",
    "tools": "Tools",
    "agents": "Agents",
    "workflows": "Workflows",
    "executions": "Executions",
    "triggers": "Triggers",
    "users": "Users",
    "roles": "Roles",
    "keys": "Keys",
    "sessions": "Sessions",
    "secrets": "Secrets",
    "budgets": "Budgets",
    "costs": "Costs",
    "usage": "Usage",
    "prices": "Prices",
    "limits": "Limits",
    "alerts": "Alerts",
    "webhooks": "Webhooks",
    "audit": "Audit",
}

#: Rows that a method of the session itself serves: they take or give what is no JSON.
DELEGATED = {
    "agents.run": "run",
    "agents.start": "start",
    "agents.stream": "stream",
    "executions.events": "events",
    "tools.register": "register",
}

#: Methods of a noun that ask the engine nothing, by the methods of the session that serve them.
OWN = {"executions": {"handle": "execution"}}

_KEYWORDS = {"from": "from_"}

_classes: dict[str, type[Noun]] = {}


class Noun:
    """What a session can do with one noun."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._session!r}>"


def noun(name: str, session: Session) -> Noun:
    """A noun of a session."""
    made = _classes.get(name)
    if made is None:
        made = _classes[name] = _make_class(name)
    return made(session)


def __getattr__(name: str) -> Any:
    for key, class_name in NOUNS.items():
        if class_name == name:
            return _classes.setdefault(key, _make_class(key)) if key not in _classes else _classes[key]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _make_class(name: str) -> type[Noun]:
    methods: dict[str, Any] = {"__slots__": (), "__module__": __name__, "__doc__": f"The {name} of the engine."}
    for row in _native.method_names():
        noun, _, verb = row.partition(".")
        if noun == name:
            methods.update((shown, _Unmade(row, shown)) for shown in (plain_of(verb), twin_of(verb)))
    for shown, served in OWN.get(name, {}).items():
        methods[shown] = _own(shown, served)
    return type(NOUNS[name], (Noun,), methods)


class _Unmade:
    """The place of a method or its twin until one of them is asked for: then both are made."""

    def __init__(self, row: str, shown: str) -> None:
        self._row, self._shown = row, shown

    def __set_name__(self, owner: type[Noun], name: str) -> None:
        self._owner = owner

    def __get__(self, noun: Noun | None, owner: type[Noun]) -> Any:
        plain, twin = _delegated(self._row) if self._row in DELEGATED else _methods(_native.methods(self._row)[0])
        verb = self._row.partition(".")[2]
        for made, shown in ((plain, plain_of(verb)), (twin, twin_of(verb))):
            made.__qualname__ = f"{self._owner.__name__}.{shown}"
            setattr(self._owner, shown, made)
        return getattr(owner if noun is None else noun, self._shown)


def plain_of(verb: str) -> str:
    """The name of a verb's blocking method: `import` is a word of the language."""
    return f"{verb}_" if keyword.iskeyword(verb) else verb


def twin_of(verb: str) -> str:
    """The name of a verb's coroutine."""
    return f"a{verb}_" if keyword.iskeyword(f"a{verb}") else f"a{verb}"


def _delegated(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The methods of the session that serve a row."""
    from ._session import Session

    plain = getattr(Session, DELEGATED[name])
    twin = getattr(Session, twin_of(DELEGATED[name]))

    def method(self: Noun, *given: Any, **named: Any) -> Any:
        return plain(self._session, *given, **named)

    async def awaited(self: Noun, *given: Any, **named: Any) -> Any:
        return await twin(self._session, *given, **named)

    def iterated(self: Noun, *given: Any, **named: Any) -> Any:
        return twin(self._session, *given, **named)

    amethod = awaited if inspect.iscoroutinefunction(twin) else iterated
    verb = name.partition(".")[2]
    for made, served, shown in ((method, plain, plain_of(verb)), (amethod, twin, twin_of(verb))):
        made.__name__, made.__doc__ = shown, served.__doc__
        made.__signature__ = inspect.signature(served)  # type: ignore[attr-defined]
    return method, amethod


def _own(shown: str, served: str) -> Callable[..., Any]:
    from ._session import Session

    plain = getattr(Session, served)

    def method(self: Noun, *given: Any, **named: Any) -> Any:
        return plain(self._session, *given, **named)

    method.__name__, method.__doc__ = shown, plain.__doc__
    method.__signature__ = inspect.signature(plain)  # type: ignore[attr-defined]
    return method


def _methods(row: dict[str, Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The method of a row, and its twin."""
    name, verb = row["name"], row["name"].partition(".")[2]
    parameters = Parameters(row)
    made = _made(row["output_schema"])

    def method(self: Noun, *given: Any, **named: Any) -> Any:
        input = parameters.read(plain_of(verb), given, named)
        return made(self._session._entry.call(name, input).wait())

    async def amethod(self: Noun, *given: Any, **named: Any) -> Any:
        input = parameters.read(twin_of(verb), given, named)
        return made(await settled(self._session._entry.call(name, input)))

    for made_method, shown in ((method, plain_of(verb)), (amethod, twin_of(verb))):
        made_method.__name__, made_method.__doc__ = shown, parameters.doc
        made_method.__module__ = __name__
        made_method.__signature__ = parameters.signature()  # type: ignore[attr-defined]
    return method, amethod


class Parameters:
    """The parameters of a row: the first two required ones may be given by position.

    Those of a ``page`` stand beside the others, as the rows have them that take nothing else.
    """

    def __init__(self, row: dict[str, Any]) -> None:
        schema = row["input_schema"]
        self.properties: dict[str, Any] = schema.get("properties", {})
        self.required = frozenset(schema.get("required", ()))
        ordered = [field for field in self.properties if field in self.required]
        self.positional = ordered[:2]
        self.fields = {_KEYWORDS.get(field, field): field for field in self.properties}
        self._paging = _paging(schema)
        for field, text in self._paging.items():
            self.properties = {**self.properties, field: text}
            self.fields[field] = field
        self._moments = {field for field, text in self.properties.items() if "/Timestamp" in str(text)}
        lines = [f"``{row['name']}``: {schema.get('description', '')}".rstrip(": "), "", "Args:"]
        lines += [
            f"    {shown}: {self.properties[field].get('description', '')}" for shown, field in self.fields.items()
        ]
        self.doc = "\n".join(lines if self.fields else lines[:1])

    def read(self, verb: str, given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        """The input of a call. An optional field that is ``None`` is not given."""
        if len(given) > len(self.positional):
            raise TypeError(f"{verb}() takes {len(self.positional)} arguments by position, {len(given)} were given")
        input = dict(zip(self.positional, given, strict=False))
        for shown, value in named.items():
            field = self.fields.get(shown)
            if field is None:
                raise TypeError(f"{verb}() has no parameter {shown!r}; it has {', '.join(self.fields) or 'none'}")
            if field in input:
                raise TypeError(f"{verb}() was given {shown!r} twice")
            if value is not None or field in self.required:
                input[field] = _micros(value) if field in self._moments else value
        for field, value in input.items():
            if isinstance(value, Workflow):
                input[field] = value.build()
        paging = {field: input.pop(field) for field in self._paging if field in input}
        if paging:
            if "page" in input:
                raise TypeError(f"{verb}() was given page and {', '.join(paging)}: they say the same thing")
            input["page"] = paging
        missing = [field for field in self.positional if field not in input]
        missing += [field for field in self.properties if field in self.required - set(input) - set(missing)]
        if missing:
            raise TypeError(f"{verb}() lacks {', '.join(missing)}")
        return input

    def signature(self) -> inspect.Signature:
        kind = inspect.Parameter
        shown = {field: name for name, field in self.fields.items()}
        parameters = [kind("self", kind.POSITIONAL_OR_KEYWORD)]
        parameters += [kind(shown[field], kind.POSITIONAL_OR_KEYWORD) for field in self.positional]
        for name, field in self.fields.items():
            if field not in self.positional:
                default = kind.empty if field in self.required else None
                parameters.append(kind(name, kind.KEYWORD_ONLY, default=default))
        return inspect.Signature(parameters)


def _paging(schema: dict[str, Any]) -> dict[str, Any]:
    """The fields of a row's page that are no fields of the row itself."""
    if "/ListOptions" not in str(schema.get("properties", {}).get("page")):
        return {}
    fields: dict[str, Any] = schema["$defs"]["ListOptions"]["properties"]
    return {field: text for field, text in fields.items() if field not in schema["properties"]}


def _micros(value: Any) -> Any:
    """A moment as the engine counts: whole microseconds since 1970, UTC."""
    from datetime import datetime, timedelta, timezone

    if not isinstance(value, datetime):
        return value
    since = value.astimezone(timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return since // timedelta(microseconds=1)


def value_class(title: str) -> str:
    """The class of a schema's title."""
    return "ExecutionRecord" if title == "Execution" else title


def _made(schema: dict[str, Any]) -> Callable[[Any], Any]:
    """How the output of a row becomes a value."""
    title = schema.get("title", "")
    if title == "Page":
        item = schema["properties"]["items"]["items"]["$ref"].rpartition("/")[2]
        item_class = getattr(_values, value_class(item))
        return lambda page: _values.Page([item_class(each) for each in page["items"]], page.get("next_cursor"), item_class)
    if title.startswith("Array_of_"):
        each_class = getattr(_values, title.removeprefix("Array_of_"), None)
        return (lambda items: [each_class(each) for each in items]) if each_class else _as_is
    found = getattr(_values, value_class(title), None)
    return found if isinstance(found, type) else _as_is


def _as_is(value: Any) -> Any:
    return value
