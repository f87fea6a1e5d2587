"""The handle on an execution that runs by itself."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from . import _native
from ._errors import CLASSES
from ._events import AsyncEventStream, EventStream
from ._loop_lazy import settled
from ._values import Outcome

if TYPE_CHECKING:
    from ._records import NodeState

T = TypeVar("T")


def fits_64_bits(what: str, given: int) -> int:
    """An integer as the engine counts. Errors: ``InvalidInputError``."""
    if isinstance(given, int) and not -(2**63) <= given < 2**63:
        raise CLASSES["invalid_input"](f"{what} is an integer of 64 bits, and {given} is none")
    return given


class ExecutionHandle(Generic[T]):
    """An execution that was started: it runs by itself, whatever becomes of the handle."""

    __slots__ = ("_entry", "_handle", "_outcome", "_read")

    def __init__(
        self,
        entry: _native.Session,
        handle: _native.Execution,
        outcome: Callable[[dict[str, Any]], Outcome[T]],
        *read: Callable[[Any], Any],
    ) -> None:
        self._entry = entry
        self._handle = handle
        self._outcome = outcome
        self._read = read

    @property
    def id(self) -> int:
        """Its id."""
        return self._handle.id

    def events(self, *, after: int = 0) -> EventStream:
        """Its events behind a place: what is written is read again, what comes is awaited."""
        fits_64_bits("after", after)
        return EventStream(lambda: self._handle.events(after), *self._read)

    def aevents(self, *, after: int = 0) -> AsyncEventStream:
        """Its events behind a place, for ``async for``."""
        fits_64_bits("after", after)
        return AsyncEventStream(lambda: self._handle.events(after), *self._read)

    def wait(self) -> Outcome[T]:
        """Waits for its end, wherever it runs. Ctrl-C ends the wait, not the execution."""
        return self._outcome(self._handle.wait().wait())

    async def await_(self) -> Outcome[T]:
        """Awaits its end, wherever it runs; ``await handle`` is the same."""
        return self._outcome(await settled(self._handle.wait()))

    def __await__(self) -> Generator[Any, None, Outcome[T]]:
        return self.await_().__await__()

    def cancel(self) -> None:
        """Asks for its end. Asking twice is the same as once; one that has ended is a conflict."""
        self._handle.cancel().wait()

    async def acancel(self) -> None:
        """Asks for its end."""
        await settled(self._handle.cancel())

    def decide(self, key: str, decision: Mapping[str, Any], *, digest: str | None = None) -> None:
        """Decides what becomes of a step that waits.

        ``{"action": "rerun"}``, ``{"action": "skip", "value": …}`` or ``{"action": "fail", "message": …}``. With the
        ``digest`` that ``waiting_for`` names it is about that very attempt, and a conflict where another is in doubt.
        """
        self._entry.call("executions.decide", self._decides(key, decision, digest)).wait()

    async def adecide(self, key: str, decision: Mapping[str, Any], *, digest: str | None = None) -> None:
        """Decides what becomes of a step that waits."""
        await settled(self._entry.call("executions.decide", self._decides(key, decision, digest)))

    def approve(
        self, key: str, option: str, *, comment: str | None = None, value: Any = None, digest: str | None = None
    ) -> None:
        """Answers a question that it asks a person: ``"approved"``, ``"rejected"`` or an option of the question's own."""
        self._entry.call("executions.approve", self._asks(key, option, comment, value, digest)).wait()

    async def aapprove(
        self, key: str, option: str, *, comment: str | None = None, value: Any = None, digest: str | None = None
    ) -> None:
        """Answers a question that it asks a person."""
        await settled(self._entry.call("executions.approve", self._asks(key, option, comment, value, digest)))

    def nodes(self, path: str = "") -> list[NodeState]:
        """How the nodes of a workflow's execution stand: of the workflow itself, or of one item (``"each/3"``)."""
        return self._nodes(self._entry.call("executions.nodes", {"id": self.id, "path": path}).wait())

    async def anodes(self, path: str = "") -> list[NodeState]:
        """How the nodes of a workflow's execution stand."""
        return self._nodes(await settled(self._entry.call("executions.nodes", {"id": self.id, "path": path})))

    def picture(self, format: Literal["mermaid", "svg"] = "mermaid") -> str:
        """A picture of a workflow's execution as it stands."""
        return self._entry.call("executions.picture", {"id": self.id, "format": format}).wait()

    async def apicture(self, format: Literal["mermaid", "svg"] = "mermaid") -> str:
        """A picture of a workflow's execution as it stands."""
        return await settled(self._entry.call("executions.picture", {"id": self.id, "format": format}))

    def rerun(
        self, *, from_: str | None = None, input: Any = None, version: Literal["same", "latest"] = "same"
    ) -> ExecutionHandle[T]:
        """Runs a workflow that has ended again, whole or from one of its nodes, as a new execution."""
        return self._again(self._entry.call("executions.rerun", self._how(from_, input, version)).wait())

    async def arerun(
        self, *, from_: str | None = None, input: Any = None, version: Literal["same", "latest"] = "same"
    ) -> ExecutionHandle[T]:
        """Runs a workflow that has ended again, whole or from one of its nodes, as a new execution."""
        return self._again(await settled(self._entry.call("executions.rerun", self._how(from_, input, version))))

    def redrive(self) -> None:
        """Goes on with a workflow that failed or was cancelled where it did: this handle follows it again."""
        self._entry.call("executions.redrive", {"id": self.id}).wait()

    async def aredrive(self) -> None:
        """Goes on with a workflow that failed or was cancelled where it did."""
        await settled(self._entry.call("executions.redrive", {"id": self.id}))

    def _decides(self, key: str, decision: Mapping[str, Any], digest: str | None) -> dict[str, Any]:
        return {"id": self.id, "key": key, "decision": dict(decision), "digest": digest}

    def _asks(self, key: str, option: str, comment: str | None, value: Any, digest: str | None) -> dict[str, Any]:
        answer = {"comment": comment, "value": value, "digest": digest}
        given = {name: field for name, field in answer.items() if field is not None}
        return {"id": self.id, "key": key, "option": option, **given}

    def _how(self, from_: str | None, input: Any, version: str) -> dict[str, Any]:
        return {"id": self.id, "from": from_, "input": input, "version": version}

    def _again(self, started: dict[str, Any]) -> ExecutionHandle[T]:
        return ExecutionHandle(self._entry, self._entry.execution(started["execution_id"]), self._outcome, *self._read)

    def _nodes(self, nodes: list[dict[str, Any]]) -> list[NodeState]:
        from ._records import NodeState

        return [NodeState(node) for node in nodes]

    def _repr_html_(self) -> str:
        from ._display import execution
        from ._values import ExecutionRecord

        sheet = execution(ExecutionRecord(self._entry.call("executions.get", {"id": self.id}).wait()))
        try:
            return sheet + self.picture("svg")
        except CLASSES["invalid_input"]:
            # An agent has steps, and no nodes.
            return sheet

    def __repr__(self) -> str:
        return f"ExecutionHandle(id={self.id})"

    def __reduce__(self) -> Any:
        raise TypeError("an ExecutionHandle is a live handle and cannot be pickled: keep its id")


ExecutionHandle.__module__ = "blitz"
