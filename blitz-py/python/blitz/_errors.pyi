# Printed by stubs.py from the engine's table of errors: `make py-stubs` writes it anew.
import builtins
from typing import Any

class BlitzError(Exception):
    """What every failure of the engine is."""

    code: str
    number: int
    retryable: bool
    details: Any
    def __init__(self, message: str = "", *, retryable: bool | None = None, details: Any = None) -> None: ...
    @property
    def message(self) -> str: ...

class InvalidInputError(BlitzError, builtins.ValueError):
    """The input is malformed, off its schema or out of range."""

class NotFoundError(BlitzError, builtins.LookupError):
    """There is no such thing, or the caller may not know of it."""

class ConflictError(BlitzError):
    """The request collides with what is there: a taken name, a stale revision, a finished execution."""

class UnauthenticatedError(BlitzError):
    """Nobody is logged in, or the password, token or key is not valid."""

class PermissionDeniedError(BlitzError, builtins.PermissionError):
    """The caller is known and may not do this."""

class BudgetExceededError(BlitzError):
    """A hard budget has no room for what this call may cost."""

class LimitExceededError(BlitzError):
    """A limit of the execution (turns, tokens, time, cost, depth) is reached."""

class RateLimitedError(BlitzError):
    """Too many requests: wait and try again."""

class UnavailableError(BlitzError, builtins.ConnectionError):
    """The service cannot be reached or failed on its side."""

class TimeoutError(BlitzError, builtins.TimeoutError):
    """No answer came within the time limit."""

class ProviderAuthError(BlitzError):
    """The provider refused the key or the account: check key, quota and access to the model."""

class ContextOverflowError(BlitzError):
    """The conversation does not fit into the model's context window."""

class ContentFilteredError(BlitzError):
    """The provider's content filter stopped the request or the answer."""

class BadOutputError(BlitzError):
    """The answer is malformed, empty, cut off or off its schema."""

class RefusedError(BlitzError):
    """The model declined to answer."""

class TooLargeError(BlitzError, builtins.ValueError):
    """A value is over its size limit."""

class ExpressionError(BlitzError, builtins.ValueError):
    """A template or expression cannot be evaluated."""

class ToolFailedError(BlitzError):
    """A tool failed where no model can be told of it."""

class HeartbeatError(BlitzError):
    """Nothing was heard of a running node for longer than its heartbeat allows."""

class CancelledError(BlitzError):
    """The execution or call was cancelled."""

class InterruptedError(BlitzError):
    """The engine closed or died while the execution ran: recover() goes on with it."""

class StorageError(BlitzError, builtins.OSError):
    """The database cannot be opened, read or written."""

class StorageFullError(BlitzError, builtins.OSError):
    """The disk or quota is full: free space and call again, no restart is needed."""

class ClosedError(BlitzError):
    """The engine or handle is closed."""

class InternalError(BlitzError):
    """A bug of the engine: report it."""

class PanicError(BlitzError):
    """A panic was caught at the boundary: report it."""

__all__ = [
    "BlitzError",
    "InvalidInputError",
    "NotFoundError",
    "ConflictError",
    "UnauthenticatedError",
    "PermissionDeniedError",
    "BudgetExceededError",
    "LimitExceededError",
    "RateLimitedError",
    "UnavailableError",
    "TimeoutError",
    "ProviderAuthError",
    "ContextOverflowError",
    "ContentFilteredError",
    "BadOutputError",
    "RefusedError",
    "TooLargeError",
    "ExpressionError",
    "ToolFailedError",
    "HeartbeatError",
    "CancelledError",
    "InterruptedError",
    "StorageError",
    "StorageFullError",
    "ClosedError",
    "InternalError",
    "PanicError",
]

CLASSES: dict[str, type[BlitzError]]

def make(code: str, message: str, retryable: bool, details: Any) -> BlitzError: ...
