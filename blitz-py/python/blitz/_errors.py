"""The exceptions, made from the engine's one table of error codes.

Each code has a class: ``not_found`` is ``NotFoundError``. Where a builtin means the same, the class is
one of those too, so ``except LookupError`` catches it.
"""

from __future__ import annotations

from typing import Any

from . import _native

__all__ = ["BlitzError"]


class BlitzError(Exception):
    """What every failure of the engine is.

    ``code`` is the stable name, ``number`` the stable number, ``retryable`` whether the same call may
    succeed later without a change, ``details`` holds values for programs.
    """

    code: str = "internal"
    number: int = 98
    retryable: bool
    details: Any

    def __init__(self, message: str = "", *, retryable: bool | None = None, details: Any = None) -> None:
        super().__init__(message)
        self.retryable = type(self)._retryable if retryable is None else retryable
        self.details = details

    _retryable: bool = False

    @property
    def message(self) -> str:
        """What happened and what to do, for people."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Any:
        return _again, (type(self), self.message, self.retryable, self.details)


def _again(cls: type[BlitzError], message: str, retryable: bool, details: Any) -> BlitzError:
    return cls(message, retryable=retryable, details=details)


#: Builtins that mean the same as a code.
_NATURAL: dict[str, type[Exception]] = {
    "invalid_input": ValueError,
    "not_found": LookupError,
    "permission_denied": PermissionError,
    "unavailable": ConnectionError,
    "timeout": TimeoutError,
    "too_large": ValueError,
    "expression": ValueError,
    "storage": OSError,
    "storage_full": OSError,
}


def _class_name(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("_")) + "Error"


def _make_class(number: int, code: str, meaning: str, retryable: bool) -> type[BlitzError]:
    bases = (BlitzError, _NATURAL[code]) if code in _NATURAL else (BlitzError,)
    fields = {
        "__doc__": meaning,
        "__module__": "blitz",
        "code": code,
        "number": number,
        "_retryable": retryable,
    }
    return type(_class_name(code), bases, fields)


#: Every class by its code.
CLASSES: dict[str, type[BlitzError]] = {row[1]: _make_class(*row) for row in _native.error_codes()}

globals().update({made.__name__: made for made in CLASSES.values()})
__all__ += [made.__name__ for made in CLASSES.values()]
BlitzError.__module__ = "blitz"


def make(code: str, message: str, retryable: bool, details: Any) -> BlitzError:
    """The exception of an error of the engine."""
    return CLASSES.get(code, BlitzError)(message, retryable=retryable, details=details)
