# The module behind the package: use the package `blitz`.
import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, final

__all__ = [
    "Call",
    "Engine",
    "Events",
    "Execution",
    "Mailbox",
    "Pending",
    "Provider",
    "Session",
    "ToolContext",
    "__version__",
    "azure_provider",
    "draw",
    "error_codes",
    "function_provider",
    "method_names",
    "methods",
    "next_call",
    "scripted",
    "shut_down",
]

__version__: str

def method_names() -> list[str]:
    """The names of the rows of the method table."""

def methods(of: str | None = None) -> list[dict[str, Any]]:
    """The rows of the method table, of one noun, or of one name: name, kind, permission, since, schemas."""

def draw(definition: Any, format: Any) -> str:
    """A picture of a definition: `"mermaid"` or `"svg"`."""

def error_codes() -> list[tuple[int, str, str, bool]]:
    """The rows of the error table: number, name, meaning, whether a retry may help."""

def scripted(replies: Any, name: str) -> Provider:
    """A provider that gives these answers, one for each request."""

def azure_provider(settings: Any, function: Callable[[Call], Any], is_async: bool) -> Provider:
    """Azure OpenAI by tokens that a function gives; it gets a `Call`."""

def function_provider(
    name: str, function: Callable[[Call], Any], is_async: bool, free: bool, remote: bool, embeds: bool
) -> Provider:
    """A provider whose answers a function makes; it gets a `Call`."""

def next_call(linger: float) -> Call | None:
    """The next call for a thread of Python's; `None` when none came for `linger` seconds, or at the end."""

def shut_down(engines: list[Engine], grace: float, limit: float) -> None:
    """At the interpreter's exit: lets the threads that serve Python functions end, and closes what is open."""

@final
class Pending:
    """An operation of the engine; dropped before its end, it is broken off."""

    def wait(self) -> Any: ...
    def start(self, mailbox: Mailbox, future: asyncio.Future[Any]) -> None: ...
    def abort(self) -> None: ...

@final
class Mailbox:
    """The mailbox of one event loop."""

    def __new__(cls) -> Mailbox: ...
    def fileno(self) -> int: ...
    def drain(self) -> None: ...
    def abandon(self) -> None: ...

@final
class Engine:
    """One engine on one store."""

    @staticmethod
    def open(settings: Any) -> Pending: ...
    def root(self, reason: str) -> Session: ...
    def login(self, email: str, password: str, source: str | None) -> Pending: ...
    def authenticate(self, token: str) -> Pending: ...
    def api_key(self, key: str) -> Pending: ...
    def refresh(self, refresh_token: str) -> Pending: ...
    def set_password(self, token: str, password: str) -> Pending: ...
    def recover(self) -> Pending: ...
    def close(self, grace: float | None) -> Pending: ...
    def register_provider(self, provider: Provider) -> None: ...
    def register_node(self, info: Any, function: Callable[[Call], Any], is_async: bool) -> None: ...
    def on_alert(self, function: Callable[[Call], Any], is_async: bool) -> None: ...
    def override_models(self, provider: Provider | None) -> None: ...
    def allow_real_requests(self, allowed: bool) -> None: ...

@final
class Session:
    """An authenticated way into an engine."""

    def principal(self) -> Any: ...
    def call(self, method: str, input: Any) -> Pending: ...
    def run(
        self,
        agent: Any,
        input: Any,
        options: Any,
        mailbox: Mailbox | None,
        context: contextvars.Context | None,
        call: Call | None,
    ) -> Pending: ...
    def start(
        self,
        agent: Any,
        input: Any,
        options: Any,
        mailbox: Mailbox | None,
        context: contextvars.Context | None,
        call: Call | None,
    ) -> Pending: ...
    def stream(
        self,
        agent: Any,
        input: Any,
        options: Any,
        mailbox: Mailbox | None,
        context: contextvars.Context | None,
        call: Call | None,
    ) -> Events: ...
    def execution(self, id: int) -> Execution: ...
    def register_tool(
        self,
        name: str,
        description: str,
        input_schema: Any,
        effect: Any,
        timeout: float | None,
        sequential: bool,
        secrets: dict[str, str],
        function: Callable[[Call], Any],
        is_async: bool,
    ) -> Pending: ...

@final
class Execution:
    """An execution that runs by itself."""

    @property
    def id(self) -> int: ...
    def wait(self) -> Pending: ...
    def cancel(self) -> Pending: ...
    def events(self, after: int) -> Events: ...

@final
class Events:
    """The events of one execution; dropped or closed, it lets go of them."""

    def fill(self) -> Pending: ...
    def take(self) -> list[dict[str, Any]] | None: ...
    def close(self) -> None: ...

@final
class Provider:
    """A provider of the host."""

    def requests(self) -> Any: ...

@final
class Call:
    """One call of a Python function by the engine; answered once."""

    @property
    def function(self) -> Callable[[Call], Any]: ...
    @property
    def context(self) -> ToolContext: ...
    @property
    def contextvars(self) -> contextvars.Context | None: ...
    @property
    def cancelled(self) -> bool: ...
    def input(self) -> Any: ...
    def emit_text(self, text: str) -> None: ...
    def give(self, value: Any) -> None: ...
    def fail(self, message: str) -> None: ...
    def fail_as(
        self,
        code: str,
        message: str,
        charged: str | None = None,
        retryable: bool | None = None,
        retry_after_ms: int | None = None,
    ) -> None: ...
    def fail_cancelled(self) -> None: ...
    def retry(self, hint: str) -> None: ...
    def end(self, error: BaseException) -> None: ...
    def raise_to_caller(self, error: BaseException) -> None: ...

@final
class ToolContext:
    """What a tool gets beside its arguments."""

    @property
    def execution_id(self) -> int: ...
    @property
    def call_id(self) -> str: ...
    @property
    def idempotency_key(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def cancelled(self) -> bool: ...
    def heartbeat(self) -> None: ...
    def log(self, message: Any) -> None: ...
    @property
    def session(self) -> Session: ...
