"""``output_type``: the schema that is asked for, and the value that comes back."""

from __future__ import annotations

from typing import Any

from . import _schema
from ._errors import CLASSES
from ._values import Outcome


class OutputType:
    """A type that an execution's output is to have."""

    def __init__(self, kind: Any) -> None:
        self._name = getattr(kind, "__name__", str(kind))
        self._shape = _schema.shape_of(kind)

    @property
    def schema(self) -> dict[str, Any] | None:
        """Its JSON Schema; none of plain text, which is what an agent answers by itself."""
        return None if self._shape == _schema.TEXT else self._shape.schema

    def partial(self, output: Any) -> Any:
        """What has come of an output that still streams.

        A dataclass or a ``TypedDict`` is a dict of the fields that are there, each as a value of its type; a
        list is a list of what is there; what is no value of its type yet is plain JSON, and so is a pydantic
        model, until it is whole.
        """
        return self._shape.so_far(output)

    def outcome(self, data: dict[str, Any]) -> Outcome[Any]:
        """The outcome with its output as a value of the type.

        Errors: ``BadOutputError`` where the type itself refuses what its schema allows; the outcome is
        in the execution's record all the same.
        """
        if data["status"] != "completed":
            return Outcome(data)
        try:
            return Outcome(data, self._shape.read(data["output"]))
        except (ValueError, TypeError) as error:
            message = f"the output is no {self._name}: {error}"
            raise CLASSES["bad_output"](message, details={"execution_id": data["execution_id"]}) from error
