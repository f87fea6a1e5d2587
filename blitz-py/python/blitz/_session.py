"""Sessions: running agents and workflows, the nouns, tools."""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from . import _native
from ._calls import at_work
from ._errors import CLASSES
from ._events import AsyncEventStream, EventStream
from ._execution import ExecutionHandle, fits_64_bits
from ._input import given
from ._loop_lazy import mailbox, next_mailbox, settled
from ._values import Outcome, Record

if TYPE_CHECKING:
    from ._nouns import (
        Agents,
        Alerts,
        Audit,
        Budgets,
        Costs,
        Executions,
        Keys,
        Limits,
        Models,
        Prices,
        Prompts,
        Roles,
        Secrets,
        Sessions,
        Tools,
        Triggers,
        Usage,
        Users,
        Webhooks,
        Workflows,
    )

T = TypeVar("T")
N = TypeVar("N")
F = TypeVar("F", bound=Callable[..., Any])


class _Asked:
    """What is asked of an agent: the arguments that run, start and stream share."""

    __slots__ = ("agent", "input", "options", "output")

    def __init__(
        self,
        agent: str | int,
        input: Any,
        output_type: Any,
        output_schema: Mapping[str, Any] | None,
        limits: Mapping[str, Any] | None,
        model: str | None,
        tags: Mapping[str, str] | None,
        client_key: str | None,
        priority: int | None,
        concurrency_key: str | None,
    ) -> None:
        if not isinstance(agent, (str, int)):
            raise CLASSES["invalid_input"](_no_agent(agent))
        self.agent = agent
        self.input = given(input)
        self.options: dict[str, Any] = {}
        self.output = None
        if output_type is not None:
            from ._output import OutputType

            if output_schema is not None:
                raise TypeError("output_type and output_schema say the same thing: give one")
            self.output = OutputType(output_type)
            output_schema = self.output.schema
        if output_schema is not None:
            self.options["output_schema"] = output_schema
        if limits is not None:
            self.options["limits"] = limits
        if model is not None:
            self.options["model"] = model
        if tags is not None:
            self.options["tags"] = tags
        if client_key is not None:
            self.options["client_key"] = client_key
        if priority is not None:
            self.options["priority"] = priority
        if concurrency_key is not None:
            self.options["concurrency_key"] = concurrency_key

    @property
    def said(self) -> tuple[Any, Any, dict[str, Any]]:
        """What the engine is asked: of whom, with what, how."""
        return self.agent, self.input, self.options

    def outcome(self, data: dict[str, Any]) -> Outcome[Any]:
        return Outcome(data) if self.output is None else self.output.outcome(data)

    @property
    def read(self) -> tuple[Callable[[Any], Any], ...]:
        """How the output is read that still streams, where its type was said."""
        return () if self.output is None else (self.output.partial,)


def _no_agent(given: Any) -> str:
    kind = "None" if given is None else f"a {type(given).__name__}"
    return f"what runs is named by its name, its id or owner/name, and not by {kind}" + (
        ": give its id" if hasattr(given, "id") else ""
    )


def _here() -> tuple[contextvars.Context, _native.Call | None]:
    """From where it is asked: the context variables, and the function of the engine's that runs here."""
    return contextvars.copy_context(), at_work()


class _Noun(Generic[N]):
    """A noun of a session, with its methods."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, session: None, owner: type) -> _Noun[N]: ...
    @overload
    def __get__(self, session: Session, owner: type) -> N: ...
    def __get__(self, session: Session | None, owner: type) -> Any:
        if session is None:
            return self
        from ._nouns import noun

        return noun(self._name, session)


class Session:
    """An authenticated way into an engine: it speaks for the host or for a user, from any thread.

    ``run``, ``start`` and ``stream`` block, and work inside a running loop, in Jupyter and in threads;
    ``arun``, ``astart`` and ``astream`` are for ``await``. All take the same arguments:

    - ``agent``: the agent's name, id, or ``owner/name``; ``input``: what it is given: text, JSON, an
      :class:`Image` or :class:`File`, or a list of texts with these.
    - ``output_type``: a type that the output is to have: a dataclass, a ``TypedDict``, an ``Enum``, a
      pydantic model, a list of such, …; or ``output_schema``: a JSON Schema.
    - ``limits``: limits that this run lowers: ``max_turns``, ``timeout_ms``, ``max_tokens``,
      ``max_cost``, ``max_depth``, ``max_parallel_tools``.
    """

    __slots__ = ("__weakref__", "_entry_")
    _entry_: _native.Session | None

    def __init__(self, entry: _native.Session) -> None:
        self._entry_ = entry

    @property
    def _entry(self) -> _native.Session:
        entry = self._entry_
        if entry is None:
            from ._errors import make

            message = "the engine was opened with root=False: use the session of a login"
            raise make("permission_denied", message, False, None)
        return entry

    @property
    def principal(self) -> dict[str, Any]:
        """Who it speaks for."""
        return self._entry.principal()

    models = _Noun["Models"]("Models: who serves them, settings, keys, prices.")
    prompts = _Noun["Prompts"]("Prompts and their versions.")
    tools = _Noun["Tools"]("Tools: the host's functions and the builtins.")
    agents = _Noun["Agents"]("Agents.")
    workflows = _Noun["Workflows"]("Workflows: drafts and published versions.")
    executions = _Noun["Executions"]("Executions: what runs and what has run.")
    users = _Noun["Users"]("Users and their roles.")
    roles = _Noun["Roles"]("Roles of the host's own.")
    keys = _Noun["Keys"]("API keys.")
    sessions = _Noun["Sessions"]("Logins and their tokens.")
    secrets = _Noun["Secrets"]("Secrets by name: set, listed, deleted, never read back.")
    budgets = _Noun["Budgets"]("Budgets and their windows.")
    costs = _Noun["Costs"]("What was spent.")
    usage = _Noun["Usage"]("Spend, tokens, calls, failures and latency over time.")
    prices = _Noun["Prices"]("Versions of prices.")
    limits = _Noun["Limits"]("Limits of use.")
    alerts = _Noun["Alerts"]("Alerts of budgets.")
    webhooks = _Noun["Webhooks"]("Addresses that alerts are sent to.")
    triggers = _Noun["Triggers"]("What starts workflows beside calls: schedules, webhooks and events.")
    audit = _Noun["Audit"]("Who did what to what.")

    def call(self, method: str, input: Mapping[str, Any] | None = None) -> Any:
        """Calls a method of the table by its name, with plain JSON values in and out."""
        return self._entry.call(method, input).wait()

    async def acall(self, method: str, input: Mapping[str, Any] | None = None) -> Any:
        """Calls a method of the table by its name, with plain JSON values in and out."""
        return await settled(self._entry.call(method, input))

    @overload
    def run(
        self,
        agent: str | int,
        input: Any = ...,
        *,
        output_type: type[T],
        limits: Mapping[str, Any] | None = ...,
        model: str | None = ...,
        tags: Mapping[str, str] | None = ...,
        client_key: str | None = ...,
        priority: int | None = ...,
        concurrency_key: str | None = ...,
    ) -> Outcome[T]: ...
    @overload
    def run(
        self,
        agent: str | int,
        input: Any = ...,
        *,
        output_type: Any = ...,
        output_schema: Mapping[str, Any] | None = ...,
        limits: Mapping[str, Any] | None = ...,
        model: str | None = ...,
        tags: Mapping[str, str] | None = ...,
        client_key: str | None = ...,
        priority: int | None = ...,
        concurrency_key: str | None = ...,
    ) -> Outcome[Any]: ...
    def run(
        self,
        agent: str | int,
        input: Any = None,
        *,
        output_type: Any = None,
        output_schema: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        model: str | None = None,
        tags: Mapping[str, str] | None = None,
        client_key: str | None = None,
        priority: int | None = None,
        concurrency_key: str | None = None,
    ) -> Outcome[Any]:
        """Runs an agent to its end. Ctrl-C cancels the execution.

        The outcome of an agent that failed says so in ``status`` and ``error``: its messages, usage and
        cost are there all the same. ``tags`` are what it is counted under; by the same ``client_key`` the same
        run is begun once in a day. Errors: the execution could not begin.
        """
        asked = _Asked(
            agent, input, output_type, output_schema, limits, model, tags, client_key, priority, concurrency_key
        )
        return asked.outcome(self._entry.run(*asked.said, next_mailbox(), *_here()).wait())

    @overload
    async def arun(
        self,
        agent: str | int,
        input: Any = ...,
        *,
        output_type: type[T],
        limits: Mapping[str, Any] | None = ...,
        model: str | None = ...,
        tags: Mapping[str, str] | None = ...,
        client_key: str | None = ...,
        priority: int | None = ...,
        concurrency_key: str | None = ...,
    ) -> Outcome[T]: ...
    @overload
    async def arun(
        self,
        agent: str | int,
        input: Any = ...,
        *,
        output_type: Any = ...,
        output_schema: Mapping[str, Any] | None = ...,
        limits: Mapping[str, Any] | None = ...,
        model: str | None = ...,
        tags: Mapping[str, str] | None = ...,
        client_key: str | None = ...,
        priority: int | None = ...,
        concurrency_key: str | None = ...,
    ) -> Outcome[Any]: ...
    async def arun(
        self,
        agent: str | int,
        input: Any = None,
        *,
        output_type: Any = None,
        output_schema: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        model: str | None = None,
        tags: Mapping[str, str] | None = None,
        client_key: str | None = None,
        priority: int | None = None,
        concurrency_key: str | None = None,
    ) -> Outcome[Any]:
        """Runs an agent to its end. Cancelling the task cancels the execution.

        Async tools run on the loop that awaits this.
        """
        asked = _Asked(
            agent, input, output_type, output_schema, limits, model, tags, client_key, priority, concurrency_key
        )
        return asked.outcome(await settled(self._entry.run(*asked.said, mailbox(), *_here())))

    def start(
        self,
        agent: str | int,
        input: Any = None,
        *,
        output_type: Any = None,
        output_schema: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        model: str | None = None,
        tags: Mapping[str, str] | None = None,
        client_key: str | None = None,
        priority: int | None = None,
        concurrency_key: str | None = None,
    ) -> ExecutionHandle[Any]:
        """Starts an agent and lets it run by itself, whatever becomes of the handle."""
        asked = _Asked(
            agent, input, output_type, output_schema, limits, model, tags, client_key, priority, concurrency_key
        )
        started = self._entry.start(*asked.said, next_mailbox(), *_here())
        return ExecutionHandle(self._entry, started.wait(), asked.outcome, *asked.read)

    async def astart(
        self,
        agent: str | int,
        input: Any = None,
        *,
        output_type: Any = None,
        output_schema: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        model: str | None = None,
        tags: Mapping[str, str] | None = None,
        client_key: str | None = None,
        priority: int | None = None,
        concurrency_key: str | None = None,
    ) -> ExecutionHandle[Any]:
        """Starts an agent and lets it run by itself, whatever becomes of the handle."""
        asked = _Asked(
            agent, input, output_type, output_schema, limits, model, tags, client_key, priority, concurrency_key
        )
        started = self._entry.start(*asked.said, next_mailbox(), *_here())
        return ExecutionHandle(self._entry, await settled(started), asked.outcome, *asked.read)

    def stream(
        self,
        agent: str | int,
        input: Any = None,
        *,
        output_type: Any = None,
        output_schema: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        model: str | None = None,
        tags: Mapping[str, str] | None = None,
        client_key: str | None = None,
        priority: int | None = None,
        concurrency_key: str | None = None,
    ) -> EventStream:
        """Starts an agent and gives its events as they happen. Dropping the iterator cancels the execution."""
        asked = _Asked(
            agent, input, output_type, output_schema, limits, model, tags, client_key, priority, concurrency_key
        )
        here = _here()
        return EventStream(lambda: self._entry.stream(*asked.said, next_mailbox(), *here), *asked.read)

    def astream(
        self,
        agent: str | int,
        input: Any = None,
        *,
        output_type: Any = None,
        output_schema: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        model: str | None = None,
        tags: Mapping[str, str] | None = None,
        client_key: str | None = None,
        priority: int | None = None,
        concurrency_key: str | None = None,
    ) -> AsyncEventStream:
        """Starts an agent and gives its events for ``async for``. Dropping the iterator cancels the execution."""
        asked = _Asked(
            agent, input, output_type, output_schema, limits, model, tags, client_key, priority, concurrency_key
        )
        here = _here()
        return AsyncEventStream(lambda: self._entry.stream(*asked.said, mailbox(), *here), *asked.read)

    def execution(self, id: int) -> ExecutionHandle[Any]:
        """The handle on an execution whose id is known; nothing is asked yet."""
        return ExecutionHandle(self._entry, self._entry.execution(fits_64_bits("an id", id)), Outcome)

    def events(self, id: int, *, after: int = 0) -> EventStream:
        """The events of an execution behind a place: what is written, then what comes."""
        return self.execution(id).events(after=after)

    def aevents(self, id: int, *, after: int = 0) -> AsyncEventStream:
        """The events of an execution behind a place, for ``async for``."""
        return self.execution(id).aevents(after=after)

    @overload
    def tool(self, function: F, /) -> F: ...
    @overload
    def tool(
        self,
        function: None = ...,
        /,
        *,
        name: str | None = ...,
        description: str | None = ...,
        input_schema: Mapping[str, Any] | None = ...,
        effect: str = ...,
        timeout: float | None = ...,
        sequential: bool = ...,
        secrets: Mapping[str, str] | None = ...,
    ) -> Callable[[F], F]: ...
    def tool(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        input_schema: Mapping[str, Any] | None = None,
        effect: str = "unsafe",
        timeout: float | None = None,
        sequential: bool = False,
        secrets: Mapping[str, str] | None = None,
    ) -> Any:
        """Makes a tool of a function, plain or async; the function itself stays as it is.

        The annotations give the schema, the docstring the descriptions. A parameter annotated with
        :class:`ToolContext` gets the call's context. ``effect`` is ``"pure"``, ``"idempotent"`` or
        ``"unsafe"``: what may be done after a crash in the middle of a call. ``timeout`` is in seconds.
        The calls of a ``sequential`` tool by one agent run one after another; those of other tools go on.
        ``secrets={"token": "github"}`` gives the parameter ``token`` the secret ``github`` of ``secrets.set``: the
        model neither sees nor gives it, and what the call says of it is masked.
        With an ``input_schema`` of your own the function gets the arguments as plain JSON values.
        """
        local = sys._getframe(1).f_locals

        def register(function: Any) -> Any:
            self._registered(function, name, description, input_schema, effect, timeout, sequential, secrets, local).wait()
            return function

        return register if function is None else register(function)

    def register(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        input_schema: Mapping[str, Any] | None = None,
        effect: str = "unsafe",
        timeout: float | None = None,
        sequential: bool = False,
        secrets: Mapping[str, str] | None = None,
    ) -> Record:
        """Registers a function as a tool, as :meth:`tool` does, and gives its record."""
        local = sys._getframe(1).f_locals
        return Record(self._registered(function, name, description, input_schema, effect, timeout, sequential, secrets, local).wait())

    async def aregister(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        input_schema: Mapping[str, Any] | None = None,
        effect: str = "unsafe",
        timeout: float | None = None,
        sequential: bool = False,
        secrets: Mapping[str, str] | None = None,
    ) -> Record:
        """Registers a function as a tool, as :meth:`tool` does, and gives its record."""
        return Record(await settled(self._registered(function, name, description, input_schema, effect, timeout, sequential, secrets, None)))

    def _registered(
        self,
        function: Callable[..., Any],
        name: str | None,
        description: str | None,
        input_schema: Mapping[str, Any] | None,
        effect: str,
        timeout: float | None,
        sequential: bool,
        secrets: Mapping[str, str] | None,
        local: Mapping[str, Any] | None,
    ) -> _native.Pending:
        from ._tools import FunctionSpec

        spec = FunctionSpec(function, name=name, description=description, input_schema=input_schema, local=local)
        called = spec.call_async if spec.is_async else spec.call
        return self._entry.register_tool(
            spec.name, spec.description, spec.input_schema, effect, timeout, sequential, dict(secrets or {}), called, spec.is_async
        )

    def __repr__(self) -> str:
        principal = self._entry.principal()
        who = f"user {principal['id']}" if principal["kind"] == "user" else f"root, {principal.get('reason')!r}"
        return f"<{type(self).__name__} of {who}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"a {type(self).__name__} is a live handle and cannot be pickled: log in where it is needed")


Session.__module__ = "blitz"
