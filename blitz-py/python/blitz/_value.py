"""What all values of the engine are: frozen, compared by their fields, pickled, printed in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar


def _money(value: Any) -> Any:
    from decimal import Decimal

    return Decimal(value)


def _moment(value: Any) -> Any:
    from datetime import datetime, timedelta, timezone

    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=value)


class Value:
    """A value of the engine. Equal values have the same class and the same fields.

    Its fields are set once. A list or dict in one of them is its own: take a copy to change it.
    """

    __slots__ = ("_data",)
    _data: dict[str, Any]

    #: Fields that are made into something else than plain JSON, by what makes them.
    _made: ClassVar[dict[str, Any]] = {}
    #: The fields shown in one line.
    _shown: ClassVar[tuple[str, ...]] = ()
    #: All fields that the class itself knows.
    _fields: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = {name for name in cls.__dict__.get("__annotations__", {}) if not name.startswith("_")}
        cls._fields = cls._fields | own

    def __init__(self, data: dict[str, Any]) -> None:
        object.__setattr__(self, "_data", data)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values, as every language shows them."""
        import json  # Not needed to begin with: `import blitz` stays small.

        return json.loads(json.dumps(self._data))

    # Readers of types know the fields by their annotations: a name that is none of them is a mistake.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            data = self._data
            if name not in data:
                if name in type(self)._fields:
                    return None
                raise AttributeError(f"{type(self).__name__} has no field {name!r}")
            value = data[name]
            make = type(self)._made.get(name)
            if make is None or value is None:
                return value
            if isinstance(value, list):
                return [make(item) for item in value]
            return make(value)

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._fields, *self._data})

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and type(self) is type(other) and self._data == other._data

    def __hash__(self) -> int:
        # Of what nobody can change: lists and dicts are left out.
        plain = ((name, field) for name, field in self._data.items() if not isinstance(field, (list, dict)))
        return hash((type(self), frozenset(plain)))

    def __reduce__(self) -> Any:
        return type(self), (self._data,)

    def __copy__(self) -> Any:
        return self

    def __repr__(self) -> str:
        shown = ((name, getattr(self, name)) for name in self._shown)
        fields = ", ".join(f"{name}={_short(value)}" for name, value in shown if value is not None)
        return f"{type(self).__name__}({fields})"


def _short(value: Any) -> str:
    text = str(value) if type(value).__name__ in ("Decimal", "datetime") else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
