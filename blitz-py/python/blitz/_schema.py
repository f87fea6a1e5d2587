"""Python types as JSON Schema, and JSON as values of those types.

One walk over a type gives a :class:`Shape`: its schema and how JSON is read into it. What is known:
the JSON types, ``list``, ``dict``, ``tuple``, ``set``, ``Literal``, ``Enum``, ``Optional``, ``Union``,
``Annotated`` with a description, dataclasses, ``TypedDict``, dates, ``UUID``, ``Decimal``, ``Path``, and
pydantic models where pydantic is there: it is never imported from here.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import json
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union

from ._errors import CLASSES

JsonSchema = dict[str, Any]
Read = Callable[[Any], Any]

_InvalidInput = CLASSES["invalid_input"]


class Misfit(ValueError):
    """A value is not of the type that is asked for."""


class Shape(typing.NamedTuple):
    """A type: its schema, how JSON is read into it, and how JSON is that is not all there yet."""

    schema: JsonSchema
    read: Read
    some: Read | None = None

    def so_far(self, value: Any) -> Any:
        """What a value is as far as it has come: what is no value of the type yet stays plain JSON."""
        try:
            return _some_of(self, value)
        except (ValueError, TypeError):
            return value


def shape_of(kind: Any) -> Shape:
    """The shape of a type, whole: what it refers to is in ``$defs``."""
    walk = _Walk()
    inner = walk.shape(kind)
    return inner._replace(schema=_whole(inner.schema, walk.defs))


def _whole(schema: JsonSchema, defs: dict[str, JsonSchema]) -> JsonSchema:
    """A schema with what it refers to; a reference at its root is replaced by what it means."""
    reference = schema.get("$ref", "")
    if reference.startswith("#/$defs/") and len(schema) == 1:
        name = reference.removeprefix("#/$defs/")
        schema = dict(defs[name])
        others = {other: text for other, text in defs.items() if other != name}
        defs = defs if reference in str([schema, others]) else others
    return {**schema, "$defs": defs} if defs else schema


def _as_is(value: Any) -> Any:
    return value


def _plainly(kind: type, names: str) -> Read:
    def read(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise Misfit(f"{names} is expected")

    return read


def _read_int(value: Any) -> int:
    # Past 2^53 a float is not the number that was written.
    if type(value) is int or (type(value) is float and value.is_integer() and abs(value) <= 2**53):
        return int(value)
    raise Misfit("an integer is expected")


def _read_float(value: Any) -> float:
    if type(value) in (int, float):
        return float(value)
    raise Misfit("a number is expected")


def _read_none(value: Any) -> None:
    if value is not None:
        raise Misfit("null is expected")


#: Plain text.
TEXT = Shape({"type": "string"}, _plainly(str, "text"))

_SIMPLE: dict[Any, Shape] = {
    str: TEXT,
    bool: Shape({"type": "boolean"}, _plainly(bool, "true or false")),
    int: Shape({"type": "integer"}, _read_int),
    float: Shape({"type": "number"}, _read_float),
    None: Shape({"type": "null"}, _read_none),
    type(None): Shape({"type": "null"}, _read_none),
    Any: Shape({}, _as_is),
    object: Shape({}, _as_is),
    dict: Shape({"type": "object"}, _plainly(dict, "an object")),
    list: Shape({"type": "array"}, _plainly(list, "an array")),
}

#: Types whose JSON form is text, by module and name: nothing is imported for them.
_TEXTUAL: dict[tuple[str, str], tuple[str | None, str]] = {
    ("datetime", "datetime"): ("date-time", "fromisoformat"),
    ("datetime", "date"): ("date", "fromisoformat"),
    ("datetime", "time"): ("time", "fromisoformat"),
    ("uuid", "UUID"): ("uuid", ""),
    ("decimal", "Decimal"): (None, ""),
    ("pathlib", "Path"): (None, ""),
    ("pathlib._local", "Path"): (None, ""),
}


class _Walk:
    """One walk over a type; what refers to itself is a definition of its own."""

    def __init__(self) -> None:
        self.defs: dict[str, JsonSchema] = {}
        self._named: dict[Any, tuple[str, list[Shape]]] = {}

    def shape(self, kind: Any) -> Shape:
        if isinstance(kind, (typing.TypeVar, typing.ParamSpec)):
            return _SIMPLE[Any]
        try:
            if kind in _SIMPLE:
                return _SIMPLE[kind]
        except TypeError:
            raise _InvalidInput(f"{kind!r} is no type that has a JSON Schema") from None
        origin = typing.get_origin(kind)
        if origin is Annotated:
            return self._annotated(kind)
        if origin in (Union, types.UnionType):
            return self._union(typing.get_args(kind))
        if origin is Literal:
            return _choice([(value, value) for value in typing.get_args(kind)])
        if _qualifier(kind):
            return self.shape(typing.get_args(kind)[0])
        if hasattr(kind, "__supertype__"):
            return self.shape(kind.__supertype__)
        if type(kind).__name__ == "TypeAliasType":
            return self.shape(kind.__value__)
        if origin is not None:
            return self._generic(kind, origin, typing.get_args(kind))
        if isinstance(kind, type):
            return self._class(kind)
        raise _InvalidInput(f"{kind!r} is no type that has a JSON Schema")

    def _annotated(self, kind: Any) -> Shape:
        inner, *notes = typing.get_args(kind)
        shape = self.shape(inner)
        described = [note if isinstance(note, str) else getattr(note, "description", None) for note in notes]
        text = next((text for text in described if isinstance(text, str)), None)
        if any(map(_constrains, notes)):
            shape = _constrained(kind, shape)
        return shape if text is None else shape._replace(schema={**shape.schema, "description": text})

    def _union(self, kinds: tuple[Any, ...]) -> Shape:
        shapes = [self.shape(kind) for kind in kinds]
        if int in kinds and float in kinds:
            # Each would take the other's numbers, and make its own of them.
            exact = {int: _plainly(int, "an integer"), float: _plainly(float, "a number with a fraction")}
            shapes = [shape._replace(read=exact.get(kind, shape.read)) for kind, shape in zip(kinds, shapes, strict=True)]

        def read(value: Any) -> Any:
            fitting: list[tuple[int, Any]] = []
            for shape in shapes:
                try:
                    made = shape.read(value)
                except (ValueError, TypeError):
                    continue
                left_out = _left_out(value, made)
                if not left_out:
                    return made
                fitting.append((left_out, made))
            if not fitting:
                raise Misfit("no alternative fits")
            return min(fitting, key=lambda each: each[0])[1]

        def some(value: Any) -> Any:
            # The one that it will be is known only at the end: the first that it can be already.
            for shape in shapes:
                try:
                    return _some_of(shape, value)
                except (ValueError, TypeError):
                    continue
            return value

        return Shape({"anyOf": [shape.schema for shape in shapes]}, read, some)

    def _generic(self, kind: Any, origin: Any, arguments: tuple[Any, ...]) -> Shape:
        if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
            return self._tuple(arguments)
        if origin in (tuple, list, set, frozenset) or origin in _SEQUENCES:
            item = self.shape(arguments[0])
            make = origin if origin in (tuple, set, frozenset) else list
            schema: JsonSchema = {"type": "array", "items": item.schema}
            if make in (set, frozenset):
                schema["uniqueItems"] = True
            return Shape(schema, _read_items(item.read, make), _read_items(item.so_far, list))
        if origin in (dict, collections.abc.Mapping, collections.abc.MutableMapping):
            if arguments[0] not in (str, Any):
                raise _InvalidInput(f"{kind!r}: JSON has text keys only")
            return self._mapping(self.shape(arguments[1]))
        if _is_typed_dict(origin):
            return self._named_shape(kind, self._typed_dict)
        if dataclasses.is_dataclass(origin):
            return self._named_shape(kind, self._dataclass)
        if isinstance(origin, type):
            return self._class(origin)
        raise _InvalidInput(f"{kind!r} is no type that has a JSON Schema")

    def _tuple(self, kinds: tuple[Any, ...]) -> Shape:
        shapes = [self.shape(kind) for kind in kinds if kind != ()]
        schema: JsonSchema = {"type": "array", "prefixItems": [shape.schema for shape in shapes]}
        schema |= {"minItems": len(shapes), "maxItems": len(shapes)}

        def read(value: Any) -> Any:
            if not isinstance(value, list) or len(value) != len(shapes):
                raise Misfit(f"{len(shapes)} items are expected")
            return tuple(shape.read(item) for shape, item in zip(shapes, value, strict=True))

        def some(value: Any) -> Any:
            if not isinstance(value, list):
                raise Misfit("an array is expected")
            return [shape.so_far(item) for shape, item in zip(shapes, value, strict=False)]

        return Shape(schema, read, some)

    def _mapping(self, item: Shape) -> Shape:
        def read(value: Any) -> Any:
            if not isinstance(value, dict):
                raise Misfit("an object is expected")
            return {key: _at(key, item.read, inner) for key, inner in value.items()}

        def some(value: Any) -> Any:
            if not isinstance(value, dict):
                raise Misfit("an object is expected")
            return {key: item.so_far(inner) for key, inner in value.items()}

        return Shape({"type": "object", "additionalProperties": item.schema}, read, some)

    def _class(self, kind: Any) -> Shape:
        if issubclass(kind, enum.Enum):
            return _choice([(member.value, member) for member in kind])
        if textual := _TEXTUAL.get((kind.__module__, kind.__name__)):
            return _textual(kind, *textual)
        if callable(getattr(kind, "model_json_schema", None)):
            return self._pydantic(kind)
        if _is_typed_dict(kind):
            return self._named_shape(kind, self._typed_dict)
        if dataclasses.is_dataclass(kind):
            return self._named_shape(kind, self._dataclass)
        if kind in (tuple, set, frozenset):
            return Shape({"type": "array"}, _read_items(_as_is, kind))
        raise _InvalidInput(f"{kind.__name__!r} has no JSON Schema: use a dataclass, a TypedDict or a pydantic model")

    def _named_shape(self, kind: Any, make: Callable[[Any], Shape]) -> Shape:
        """A class as a definition, made once: it may refer to itself."""
        if kind not in self._named:
            name = _class_of(kind).__name__
            while name in self.defs:
                name += "_"
            made: list[Shape] = []
            self._named[kind] = (name, made)
            self.defs[name] = {}
            made.append(make(kind))
            self.defs[name] = made[0].schema
        name, made = self._named[kind]
        return Shape(
            {"$ref": f"#/$defs/{name}"}, lambda value: made[0].read(value), lambda value: _some_of(made[0], value)
        )

    def _dataclass(self, kind: Any) -> Shape:
        hints, made = _fields_of(kind), _class_of(kind)
        fields = [field for field in dataclasses.fields(made) if field.init]
        shapes = {field.name: self.shape(hints[field.name]) for field in fields}
        missing = dataclasses.MISSING
        required = [f.name for f in fields if f.default is missing and f.default_factory is missing]
        defaults = {f.name: f.default for f in fields if f.default is not missing}
        schema = object_schema(shapes, required, defaults, _doc_of(made))
        return Shape(schema, _read_object(shapes, required, lambda values: made(**values)), _some_object(shapes))

    def _typed_dict(self, kind: Any) -> Shape:
        hints, made = _fields_of(kind), _class_of(kind)
        shapes = {name: self.shape(hint) for name, hint in hints.items()}
        # Where annotations are strings, the class itself does not know its qualifiers.
        said = {name: _qualifier(hint) for name, hint in hints.items()}
        required = [
            name
            for name in shapes
            if said[name] == "Required" or (name in made.__required_keys__ and said[name] != "NotRequired")
        ]
        schema = object_schema(shapes, required, {}, _doc_of(made))
        return Shape(schema, _read_object(shapes, required, dict), _some_object(shapes))

    def _pydantic(self, kind: Any) -> Shape:
        # One that is generic has its arguments in its name, which a reference cannot hold.
        prefix = "".join(letter if letter.isalnum() else "_" for letter in kind.__name__)
        while any(name.startswith(f"{prefix}.") for name in self.defs):
            prefix += "_"
        schema = dict(kind.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}"))
        self.defs.update({f"{prefix}.{name}": text for name, text in schema.pop("$defs", {}).items()})
        # As JSON: a strict model takes a date or an Enum from its text there alone.
        return Shape(schema, lambda value: kind.model_validate_json(json.dumps(value)))


def _qualifier(kind: Any) -> str:
    """``Required``, ``NotRequired`` or ``ReadOnly``, of typing or of typing_extensions; empty for all else."""
    name = getattr(typing.get_origin(kind), "_name", None)
    return name if name in ("Required", "NotRequired", "ReadOnly") else ""


def _constrains(note: Any) -> bool:
    """Whether pydantic knows a note on a type as more than words."""
    module = type(note).__module__.partition(".")[0]
    if module == "pydantic" and hasattr(note, "metadata"):
        return bool(note.metadata)
    return module == "pydantic" or (module == "annotated_types" and "pydantic" in sys.modules)


#: Words of a schema that narrow it.
_NARROWING = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"}
_NARROWING |= {"pattern", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties"}


def _constrained(kind: Any, shape: Shape) -> Shape:
    """A shape that also holds what pydantic's notes say of its type."""
    import pydantic

    try:
        adapter = pydantic.TypeAdapter(kind)
        said = adapter.json_schema()
    except Exception as error:
        raise _InvalidInput(f"{kind!r} is no type that pydantic can check: {error}") from error
    narrowed = {word: text for word, text in said.items() if word in _NARROWING}
    return Shape({**shape.schema, **narrowed}, lambda value: adapter.validate_python(shape.read(value)), shape.some)


_SEQUENCES = (
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Iterable,
    collections.abc.Collection,
)


def _choice(meant: list[tuple[Any, Any]]) -> Shape:
    values = [value for value, _ in meant]
    if not all(value is None or isinstance(value, (str, int, float)) for value in values):
        raise _InvalidInput("only text, numbers, true, false and null can be chosen from in JSON")

    def read(value: Any) -> Any:
        for known, member in meant:
            if known == value and isinstance(known, bool) == isinstance(value, bool):
                return member
        raise Misfit("none of the choices")

    return Shape({"enum": values}, read)


def _textual(kind: Any, form: str | None, reader: str) -> Shape:
    make = getattr(kind, reader) if reader else kind

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            raise Misfit("text is expected")
        try:
            # Python 3.10 reads no "Z".
            return make(value[:-1] + "+00:00" if form == "date-time" and value[-1:] in "Zz" else value)
        except ArithmeticError as error:
            raise Misfit(f"no {kind.__name__}") from error

    return Shape({"type": "string"} | ({"format": form} if form else {}), read)


def _read_items(read: Read, make: Any) -> Read:
    def read_all(value: Any) -> Any:
        if not isinstance(value, list):
            raise Misfit("an array is expected")
        return make(_at(index, read, item) for index, item in enumerate(value))

    return read_all


def _read_object(shapes: Mapping[str, Shape], required: list[str], make: Read) -> Read:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Misfit("an object is expected")
        for name in required:
            if name not in value:
                raise Misfit(f"{name} is missing")
        for name in value:
            if name not in shapes:
                raise Misfit(f"there is no {name}")
        return make({name: _at(name, shapes[name].read, item) for name, item in value.items()})

    return read


def _left_out(given: Any, made: Any) -> int:
    """How many fields of JSON are not in what was made of it: a pydantic model passes over those it does not know."""
    if isinstance(given, list) and isinstance(made, (list, tuple)):
        return sum(map(_left_out, given, made))
    if not isinstance(given, dict):
        return 0
    if isinstance(made, dict):
        return sum(_left_out(item, made[name]) for name, item in given.items() if name in made)
    if (fields := getattr(type(made), "model_fields", None)) is None:
        return sum(_left_out(item, getattr(made, name, None)) for name, item in given.items())
    if "root" in fields:
        return _left_out(given, made.root)
    names = {name: field.validation_alias or field.alias or name for name, field in fields.items()}
    within = ((given.get(key), name) for name, key in names.items() if isinstance(key, str))
    # By number: what was given by an alias counts under the field's own name.
    return max(0, len(given) - len(made.model_fields_set)) + sum(
        _left_out(item, getattr(made, name)) for item, name in within
    )


def _some_of(shape: Shape, value: Any) -> Any:
    """As :meth:`Shape.so_far`, but what cannot be of the type is an error."""
    return shape.read(value) if shape.some is None else shape.some(value)


def _some_object(shapes: Mapping[str, Shape]) -> Read:
    """The fields that have come, each as a value of its type."""

    def some(value: Any) -> Any:
        if not isinstance(value, dict) or not value.keys() <= shapes.keys():
            raise Misfit("an object with other fields is expected")
        return {name: shapes[name].so_far(item) for name, item in value.items()}

    return some


def _at(place: str | int, read: Read, value: Any) -> Any:
    try:
        return read(value)
    except Misfit as misfit:
        text = str(misfit)
        joint = "" if text.startswith(("[", ".")) else ": "
        where = f"[{place}]" if isinstance(place, int) else f".{place}"
        raise Misfit(f"{where}{joint}{text}") from None


def object_schema(
    shapes: Mapping[str, Shape], required: list[str], defaults: Mapping[str, Any], description: str
) -> JsonSchema:
    """The schema of an object that is closed to other fields."""
    properties: dict[str, JsonSchema] = {}
    for name, shape in shapes.items():
        properties[name] = dict(shape.schema)
        default = defaults.get(name)
        if isinstance(default, enum.Enum):
            default = default.value
        if isinstance(default, (bool, int, float, str)):
            properties[name]["default"] = default
    schema: JsonSchema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    if description:
        schema["description"] = description
    return schema


def hints_of(thing: Any, local: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The annotations of a class or function. Errors: ``InvalidInputError`` for one that means nothing."""
    try:
        return typing.get_type_hints(thing, localns=dict(local or {}), include_extras=True)
    except NameError as error:
        name = getattr(thing, "__name__", thing)
        raise _InvalidInput(f"an annotation of {name!r} cannot be resolved: {error}") from None


def _is_typed_dict(kind: Any) -> bool:
    """Whether a class is a ``TypedDict``, of typing or of typing_extensions."""
    return isinstance(kind, type) and issubclass(kind, dict) and hasattr(kind, "__required_keys__")


def _class_of(kind: Any) -> Any:
    """The class of a type, without its arguments."""
    return typing.get_origin(kind) or kind


def _fields_of(kind: Any) -> dict[str, Any]:
    """The annotations of a class, its type variables replaced by what they stand for."""
    made = _class_of(kind)
    meant = dict(zip(getattr(made, "__parameters__", ()), typing.get_args(kind), strict=False))
    raw = hints_of(made)
    fields = {name: _filled(hint, meant) for name, hint in raw.items()}
    for base in made.__dict__.get("__orig_bases__", made.__bases__):
        above = _class_of(base)
        if dataclasses.is_dataclass(above) or _is_typed_dict(above):
            inherited = {name for name, hint in hints_of(above).items() if raw[name] == hint}
            fields |= {name: hint for name, hint in _fields_of(_filled(base, meant)).items() if name in inherited}
    return fields


def _filled(hint: Any, meant: Mapping[Any, Any]) -> Any:
    if isinstance(hint, typing.TypeVar):
        return meant.get(hint, hint)
    # A class that is named without arguments says nothing of them.
    parameters = getattr(hint, "__parameters__", ()) if typing.get_origin(hint) is not None else ()
    return hint[tuple(meant.get(each, each) for each in parameters)] if parameters else hint


def _doc_of(kind: Any) -> str:
    text = kind.__doc__ or ""
    # A dataclass without one is given its signature.
    return "" if text.startswith(f"{kind.__name__}(") else " ".join(text.split())


def to_plain(value: Any) -> Any:
    """What a value is in plain ones, a level at a time; the value itself where nothing is known of it."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return value.value
    if callable(getattr(value, "model_dump", None)):
        return value.model_dump(mode="json", by_alias=True)
    if dataclasses.is_dataclass(kind):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(kind)}
    if callable(getattr(value, "to_dict", None)) and kind.__module__.partition(".")[0] == "blitz":
        return value.to_dict()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset, collections.abc.KeysView, collections.abc.ValuesView)):
        return list(value)
    if (kind.__module__, kind.__name__) in _TEXTUAL or kind.__module__.partition(".")[0] == "pathlib":
        return value.isoformat() if kind.__module__ == "datetime" else str(value)
    if kind.__module__ == "numpy":
        return value.tolist() if hasattr(value, "tolist") else value
    return value
