"""How the engine calls Python functions: plain ones on threads, async ones as tasks of a loop.

What a function raises is defined: an ``Exception`` is told to the model (a ``ToolFailedError`` or another
of ours by its message alone, all else with the name of its class) or is the error of a workflow's node, which
keeps the code of one of ours, and takes ``timeout`` and ``unavailable`` for Python's own ``TimeoutError`` and
``ConnectionError``; :class:`ToolRetry` asks the model for
another try, :class:`ToolFatal` ends the execution. ``KeyboardInterrupt`` and ``SystemExit`` end the
execution, and ``run``, ``arun``, ``stream`` or ``astream`` raise that very exception.
"""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, Any

from . import _native
from ._errors import BlitzError

if TYPE_CHECKING:
    import asyncio

    from ._session import Session

#: How long a thread without work stays, in seconds.
_LINGER = 10.0


class ToolRetry(Exception):
    """Raised by a tool: the model should call again in another way; it is told the hint."""


class ToolFatal(Exception):
    """Raised by a tool: the execution ends as failed."""


class ToolContext:
    """What a tool gets beside its arguments: annotate a parameter with this class."""

    __slots__ = ("_native",)

    def __init__(self, native: _native.ToolContext) -> None:
        self._native = native

    @property
    def execution_id(self) -> int:
        """The execution that calls."""
        return self._native.execution_id

    @property
    def call_id(self) -> str:
        """The model's call."""
        return self._native.call_id

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this call, and for no other: hand it to the service you call."""
        return self._native.idempotency_key

    @property
    def attempt(self) -> int:
        """Which attempt, from 1."""
        return self._native.attempt

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more: a plain function that takes long looks here.

        The execution was cancelled, the tool's time is over, or the engine was closed.
        """
        return self._native.cancelled

    def heartbeat(self) -> None:
        """Says that the call is alive: a workflow's node with ``heartbeat_s`` fails where it is silent for longer."""
        self._native.heartbeat()

    def log(self, message: Any) -> None:
        """Says how far a workflow's node has come, to whoever reads its events; it is alive, too.

        It is shown live, as ``node.log``, and not kept.
        """
        self._native.log(message)

    @property
    def session(self) -> Session:
        """A session of whoever called: what the tool does with it, it does as its caller."""
        from ._session import Session

        return Session(self._native.session)

    def __repr__(self) -> str:
        return f"ToolContext(execution_id={self.execution_id}, call_id={self.call_id!r}, attempt={self.attempt})"


class NodeOutput:
    """What a node gives where it leaves by another port than ``out``: ``return blitz.NodeOutput(value, port="late")``."""

    __slots__ = ("output", "port")

    def __init__(self, output: Any = None, *, port: str = "out") -> None:
        self.output = output
        self.port = port

    def __repr__(self) -> str:
        return f"NodeOutput({self.output!r}, port={self.port!r})"


for _shown in (ToolRetry, ToolFatal, ToolContext, NodeOutput):
    _shown.__module__ = "blitz"


def start_thread() -> None:
    """One more thread for plain functions."""
    threading.Thread(target=_serve, name="blitz-tool", daemon=True).start()


def _serve() -> None:
    while (call := _native.next_call(_LINGER)) is not None:
        _answer(call)
        del call


#: The call at work here, as long as it is: what is copied of the context for later finds none any more.
_at_work: contextvars.ContextVar[list[_native.Call]] = contextvars.ContextVar("blitz_at_work")


def at_work() -> _native.Call | None:
    """The call of the function that runs here: what it begins ends where it is cancelled."""
    calls = _at_work.get(None)
    return calls[0] if calls else None


def _answer(call: _native.Call) -> None:
    context = call.contextvars
    context = contextvars.copy_context() if context is None else context.copy()
    calls = [call]
    context.run(_at_work.set, calls)
    try:
        call.give(context.run(call.function, call))
    except BaseException as error:
        _fail(call, error)
    finally:
        calls.clear()


def whole(given: Any) -> Any:
    """What a plain function gave, to its end: an async one behind a plain decorator gives what must be awaited."""
    if not hasattr(type(given), "__await__"):
        return given
    import asyncio

    async def awaited() -> Any:
        return await given

    return asyncio.run(awaited())


def begin(call: _native.Call) -> asyncio.Task[None]:
    """A task for an async function, on the loop that runs here."""
    import asyncio

    context = call.contextvars
    context = contextvars.copy_context() if context is None else context.copy()
    return context.run(asyncio.get_running_loop().create_task, _answer_async(call))


async def _answer_async(call: _native.Call) -> None:
    calls = [call]
    _at_work.set(calls)
    try:
        call.give(await call.function(call))
    except BaseException as error:
        _fail(call, error)
    finally:
        calls.clear()


def _fail(call: _native.Call, error: BaseException) -> None:
    """Answers a call that failed, whatever its exception is made of: somebody waits for it."""
    try:
        _tell(call, error)
    except Exception:
        call.fail(f"{type(error).__name__}, and its text cannot be had")
    except BaseException as end:
        _end(call, end)


def said(error: BlitzError) -> dict[str, Any]:
    """What it says beside code and message of the call that it ends: whether that was charged, and when to try again."""
    details = error.details if isinstance(error.details, dict) else {}
    told: dict[str, Any] = {"retryable": bool(error.retryable)}
    charged, wait = details.get("charged"), details.get("retry_after_ms")
    if isinstance(charged, str):
        told["charged"] = charged
    # What is no time is left out: the error itself is told all the same.
    if isinstance(wait, int) and not isinstance(wait, bool) and 0 <= wait < 2**63:
        told["retry_after_ms"] = wait
    return told


_BUILTIN = ((TimeoutError, "timeout"), (ConnectionError, "unavailable"))


def _tell(call: _native.Call, error: BaseException) -> None:
    from asyncio import CancelledError

    if isinstance(error, ToolRetry):
        call.retry(str(error))
    elif isinstance(error, ToolFatal):
        call.end(error)
    elif isinstance(error, BlitzError):
        call.fail_as(error.code, error.message, **said(error))
    elif isinstance(error, Exception):
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
        # What Python itself means by these the engine has codes for: retries go by them.
        code = next((code for kind, code in _BUILTIN if isinstance(error, kind)), None)
        call.fail(text) if code is None else call.fail_as(code, text)
    elif isinstance(error, CancelledError):
        call.fail_cancelled()
    else:
        _end(call, error)


def _end(call: _native.Call, error: BaseException) -> None:
    # The frames it went through are the function's own: they would keep all they hold.
    error.__traceback__ = None
    call.raise_to_caller(error)
