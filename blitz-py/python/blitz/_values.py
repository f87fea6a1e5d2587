"""What the engine gives back: frozen values that compare, pickle and print in one line.

A value holds the engine's JSON as it came (:meth:`Value.to_dict`). Its attributes are the fields of
that JSON; money is a :class:`decimal.Decimal` in USD, a moment a :class:`datetime.datetime` in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from ._value import Value, _moment, _money

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from ._errors import BlitzError

T = TypeVar("T")


class Usage(Value):
    """How many tokens were used; cached tokens are inside input, reasoning tokens inside output."""

    requests: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    #: Of the tokens written to the cache, those kept for an hour; absent where there are none.
    cache_write_1h_tokens: int | None
    reasoning_tokens: int
    provenance: str
    #: What of it may have a price of its own: sound, pictures, searches, a class of service; absent where there is none.
    details: dict[str, Any] | None
    _shown = ("input_tokens", "output_tokens", "requests")

    @property
    def total_tokens(self) -> int:
        """The sum of input and output tokens."""
        return self.input_tokens + self.output_tokens

    def _repr_html_(self) -> str:
        from ._display import table

        return table([self.to_dict() | {"total_tokens": self.total_tokens}])


class ErrorInfo(Value):
    """Why something failed, as plain data."""

    code: str
    message: str
    #: The id of the node that failed; absent where it was no node of a workflow.
    node: str | None
    #: The containers that the node is in, with item or round, such as ``review/3``.
    path: str | None
    #: Which attempt of the node it was.
    attempt: int | None
    retryable: bool
    details: Any
    _shown = ("code", "message")

    def to_exception(self) -> BlitzError:
        """The exception of this error."""
        from ._errors import make

        return make(self.code, self.message, bool(self.retryable), self.details)


class Message(Value):
    """One message of a conversation."""

    role: str
    parts: list[dict[str, Any]]
    _shown = ("role", "text")

    @property
    def text(self) -> str:
        """All text parts, joined."""
        return "".join(part["text"] for part in self.parts if part["type"] == "text")


class Outcome(Value, Generic[T]):
    """What an execution gives at its end; of one that failed too.

    ``output`` is text, JSON where a schema was asked for, or a value of the ``output_type`` that was.
    """

    __slots__ = ("_output",)
    execution_id: int
    status: str
    output: T
    error: ErrorInfo | None
    messages: list[Message]
    usage: Usage
    cost: Decimal | None
    steps: int
    #: Failures of nodes that a workflow went on from; absent where there are none.
    handled_errors: int | None
    _made = {"error": ErrorInfo, "messages": Message, "usage": Usage, "cost": _money}
    _shown = ("execution_id", "status", "output", "cost", "steps")

    def __init__(self, data: dict[str, Any], *output: T) -> None:
        super().__init__(data)
        object.__setattr__(self, "_output", output)

    def __getattribute__(self, name: str) -> Any:
        if name == "output" and (typed := object.__getattribute__(self, "_output")):
            return typed[0]
        return super().__getattribute__(name)

    @property
    def text(self) -> str:
        """The output as text: a string as it is, all else as JSON."""
        import json  # Not needed to begin with: `import blitz` stays small.

        output = self._data["output"]
        return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)

    def raise_for_status(self) -> Outcome[T]:
        """Raises the error of an execution that did not complete; gives itself otherwise."""
        if self.status == "completed":
            return self
        from ._errors import make

        if self.error is not None:
            raise self.error.to_exception()
        raise make("cancelled", f"the execution {self.execution_id} was cancelled", False, None)

    def __reduce__(self) -> Any:
        return type(self), (self._data, *self._output)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and self._output == other._output  # type: ignore[attr-defined]

    __hash__ = Value.__hash__

    def _repr_html_(self) -> str:
        from ._display import outcome

        return outcome(self)


class Event(Value):
    """Something that happened in an execution: ``type`` names it, ``data`` holds its values."""

    seq: int
    ts: datetime
    execution_id: int
    path: str
    type: str
    data: Any
    _made = {"ts": _moment}
    _shown = ("seq", "type", "path")

    __slots__ = ("_read",)
    _read: tuple[Callable[[Any], Any], ...]

    def __init__(self, data: dict[str, Any], *read: Callable[[Any], Any]) -> None:
        super().__init__(data)
        object.__setattr__(self, "_read", read)

    @property
    def partial(self) -> Any:
        """The output of a ``model.partial`` as far as it has come; ``None`` for all else.

        Where an ``output_type`` was asked for, a dataclass or a ``TypedDict`` is a dict of the fields that are
        there, each as a value of its type, and a list is a list of what is there. What is no value of its type
        yet stays plain JSON, as ``data["output"]`` has it; so does the output of an agent that a tool calls.
        """
        if self._data["type"] != "model.partial":
            return None
        output = self._data["data"]["output"]
        # The type is that of the execution itself; the steps of its children have longer paths.
        return self._read[0](output) if self._read and self._data["path"].count("/") == 1 else output

    @property
    def text(self) -> str:
        """The piece of text of a ``model.delta``; empty for all else."""
        if self._data["type"] != "model.delta":
            return ""
        delta = self._data["data"]["delta"]
        return str(delta.get("text", "")) if delta["kind"] == "text" else ""


class Record(Value):
    """A stored model, prompt, tool, agent or workflow: the fields it was put with, and who, when, which revision."""

    id: int
    owner_id: int | None
    visibility: str
    revision: int
    hash: str
    created_at: datetime
    updated_at: datetime
    name: str
    description: str | None
    _made = {"created_at": _moment, "updated_at": _moment}
    _shown = ("id", "name", "revision")

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The fields of its noun."""

    def _repr_html_(self) -> str | None:
        from ._display import workflow

        return workflow(self) if "nodes" in self._data else None


class PromptVersion(Value):
    """One immutable version of a prompt."""

    version: int
    hash: str
    created_at: datetime
    name: str
    template: str
    _made = {"created_at": _moment}
    _shown = ("name", "version")

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The fields of a prompt."""


class WorkflowVersion(Value):
    """One published version of a workflow: it never changes."""

    version: int
    hash: str
    content_hash: str
    created_at: datetime
    name: str
    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    _made = {"created_at": _moment}
    _shown = ("name", "version")

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The fields of a definition."""

    def _repr_html_(self) -> str:
        from ._display import workflow

        return workflow(self)


class Validation(Value):
    """What a check of a workflow found: everything that is wrong with it or odd."""

    valid: bool
    problems: list[dict[str, Any]]
    definition: dict[str, Any]
    _shown = ("valid",)


class WorkflowDiff(Value):
    """What differs between two definitions of a workflow."""

    same: bool
    added: list[str]
    removed: list[str]
    changed: list[dict[str, Any]]
    edges_added: list[str]
    edges_removed: list[str]
    edges_reordered: bool
    fields: list[dict[str, Any]]
    _shown = ("same", "added", "removed")


class ImportedWorkflow(Value):
    """What an import made: a draft, and what keeps it from being published."""

    workflow: Record
    problems: list[dict[str, Any]]
    _made = {"workflow": Record}
    _shown = ("workflow",)


class Share(Value):
    """To whom a resource is opened, and how far."""

    user: str | None
    role: str | None
    level: str
    _shown = ("user", "role", "level")


class ExecutionRecord(Value):
    """A stored execution."""

    id: int
    root_id: int
    parent_id: int | None
    agent_id: int | None
    workflow_id: int | None
    name: str
    user_id: int | None
    status: str
    waiting_for: list[dict[str, Any]]
    cancel_requested: bool
    interrupted: bool
    resume_attempts: int
    input: Any
    output: Any
    error: ErrorInfo | None
    usage: Usage
    cost: Decimal | None
    created_at: datetime
    finished_at: datetime | None
    _made = {
        "error": ErrorInfo,
        "usage": Usage,
        "cost": _money,
        "created_at": _moment,
        "finished_at": _moment,
    }
    _shown = ("id", "name", "status", "cost")

    def _repr_html_(self) -> str:
        from ._display import execution

        return execution(self)


class Step(Value):
    """One finished step of an execution."""

    seq: int
    execution_id: int
    path: str
    kind: str
    finished_at: datetime
    data: Any
    _made = {"finished_at": _moment}
    _shown = ("seq", "path", "kind")


class User(Value):
    """A stored user."""

    id: int
    email: str
    name: str
    role: str
    active: bool
    created_at: datetime
    updated_at: datetime
    _made = {"created_at": _moment, "updated_at": _moment}
    _shown = ("id", "email", "role", "active")


class Budget(Value):
    """A stored budget."""

    id: int
    revision: int
    created_at: datetime
    updated_at: datetime
    name: str
    scope: str
    scope_id: int | None
    limit: Decimal | None
    hard: bool
    thresholds: list[int]
    subject: str | None
    model: str | None
    unit: str
    period: str
    hours: int | None
    time_zone: str | None
    on_exceed: str
    downgrade_to: str | None
    on_unpriced: str
    burn_rate: int | None
    projection: bool
    sealed_before: datetime | None
    reset_at: datetime | None
    _made = {"sealed_before": _moment, "reset_at": _moment, "created_at": _moment, "updated_at": _moment, "limit": _money}
    _shown = ("id", "name", "scope", "limit", "hard")


class BudgetWindow(Value):
    """What a budget has counted for one user or execution."""

    budget_id: int
    scope_id: int
    window_start: datetime
    posted: Decimal
    pending: Decimal
    subject: str | None
    _made = {"window_start": _moment, "posted": _money, "pending": _money}
    _shown = ("budget_id", "scope_id", "posted", "pending")


class LedgerEntry(Value):
    """One line of the append-only ledger."""

    seq: int
    at: datetime
    kind: str
    reservation_id: int
    root_id: int
    execution_id: int
    user_id: int | None
    model: str
    provider: str
    attempt: int
    amount: Decimal | None
    usage: Usage | None
    flag: str | None
    role: str | None
    key_id: int | None
    agent_id: int | None
    workflow_id: int | None
    prompt: str | None
    latency_us: int | None
    failed: bool | None
    price_version: int | None
    reason: str | None
    _made = {"at": _moment, "amount": _money, "usage": Usage}
    _shown = ("seq", "kind", "model", "amount")


class CostSummary(Value):
    """What was spent; ``unpriced_calls`` are in no sum."""

    cost: Decimal
    unpriced_calls: int
    usage: Usage
    _made = {"cost": _money, "usage": Usage}
    _shown = ("cost", "unpriced_calls", "usage")

    def _repr_html_(self) -> str:
        from ._display import table

        return table([{"cost": self.cost, "unpriced_calls": self.unpriced_calls} | self.usage.to_dict()])


class ImportedPrices(Value):
    """What an import of prices came to; ``left_out`` names the models that were not taken, each with why."""

    version: int
    taken: int
    left_out: list[dict[str, str]]
    _shown = ("version", "taken")


class AuditRecord(Value):
    """One line of the audit trail."""

    seq: int
    at: datetime
    principal: str
    via: str
    action: str
    object: str
    outcome: str
    before: str | None
    after: str | None
    details: Any
    request_id: str | None
    redacted: bool | None
    _made = {"at": _moment}
    _shown = ("seq", "principal", "action", "object", "outcome")


class AuditCheck(Value):
    """What a check of the audit trail found."""

    records: int
    first_bad: int | None
    head: str
    _shown = ("records", "first_bad")


class Page(Sequence[T]):
    """A page of records: a sequence, with ``next_cursor`` for the page behind it."""

    __slots__ = ("_items", "_kind", "next_cursor")
    _items: tuple[T, ...]
    _kind: type[T] | None
    next_cursor: str | None

    def __init__(self, items: Sequence[T], next_cursor: str | None = None, kind: type[T] | None = None) -> None:
        object.__setattr__(self, "_items", tuple(items))
        object.__setattr__(self, "_kind", kind)
        object.__setattr__(self, "next_cursor", next_cursor)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("Page is frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("Page is frozen")

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Page) and (self._items, self.next_cursor) == (other._items, other.next_cursor)

    def __hash__(self) -> int:
        return hash((self._items, self.next_cursor))

    def __reduce__(self) -> Any:
        return type(self), (self._items, self.next_cursor, self._kind)

    def __repr__(self) -> str:
        more = ", more" if self.next_cursor else ""
        return f"Page({len(self)} × {type(self._items[0]).__name__ if self._items else 'nothing'}{more})"

    def to_dicts(self) -> list[dict[str, Any]]:
        """The records as plain JSON values."""
        return [item.to_dict() for item in self._items]  # type: ignore[attr-defined]

    def to_frame(self) -> Any:
        """A DataFrame of the records, one column a field: of pandas, or of polars where that is what is there."""
        from ._display import frame

        return frame(self._items, self._kind)

    def _repr_html_(self) -> str:
        from ._display import rows, table

        return table(rows(self._items))  # type: ignore[arg-type]


for _value in list(globals().values()):
    if isinstance(_value, type) and issubclass(_value, (Value, Page)):
        _value.__module__ = "blitz"


def __getattr__(name: str) -> Any:
    """The values that are made when they are first asked for."""
    if name.startswith("__"):
        raise AttributeError(name)
    from . import _records

    found = vars(_records).get(name)
    if not (isinstance(found, type) and found.__module__ == _records.__name__):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
