"""The engine: opening it, the ways in, closing it."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from . import _native
from ._errors import CLASSES
from ._loop_lazy import settled
from ._session import Session

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._models import AzureOpenAI, FunctionModel, Scripted
    from ._records import Alert, Tokens

F = TypeVar("F", bound=Callable[..., Any])
A = TypeVar("A", bound="Callable[[Alert], Any]")

#: How long the interpreter's exit waits for what runs, and for the engines to close, in seconds.
_EXIT_GRACE, _EXIT_LIMIT = 0.2, 5.0

_open: weakref.WeakSet[Engine] = weakref.WeakSet()
_real_requests = True


class Engine(Session):
    """One engine on one database: what a program links. It is itself a session of the host.

    ::

        with blitz.Engine("blitz.db") as engine:
            engine.models.put("m", "offline", model_name="offline")

    ``database_url`` is a path or ``":memory:"``. ``durability`` is ``"full"`` (a commit is on the disk
    before it counts) or ``"process"``. ``busy_timeout`` is how many seconds a write waits for another
    process. ``master_key`` seals secrets: 64 hex digits; without one a file beside the database holds
    it. ``egress`` says where the HTTP calls of workflows may go (``{"hosts": ["api.example.com"]}``): nowhere
    where absent. ``sessions`` says how logins and their tokens last. ``model_names_for_users`` lets users name
    models as ``"provider:model"``, paid by the environment's keys. ``network`` says how providers are reached
    (``{"proxy": "http://proxy:3128", "root_certificates": "PEM"}``): as the environment says where absent.
    ``recovery_settlement`` says what a call is booked at whose process died: ``"reserved"`` (all that was held for
    it) or ``"floor"`` (its input, and no output). ``drain`` says how far a model's answer is read on that nobody
    waits for any more, so that what it says it used is booked (``{"seconds": 30, "bytes": 262144}``): not at all
    where absent. ``max_parallel`` is how many model calls, tool calls and works of nodes run at once over all
    executions: as many as there are where absent. ``root=False`` takes the host's own rights away: all goes
    through :meth:`login`.
    """

    __slots__ = ("_native_", "_overrides", "_root", "database_url")

    def __init__(
        self,
        database_url: str | os.PathLike[str],
        *,
        durability: Literal["full", "process"] = "full",
        busy_timeout: float | None = None,
        master_key: str | None = None,
        real_requests: bool | None = None,
        egress: Mapping[str, Any] | None = None,
        sessions: Mapping[str, Any] | None = None,
        model_names_for_users: bool = False,
        network: Mapping[str, str] | None = None,
        recovery_settlement: Literal["reserved", "floor"] = "reserved",
        drain: Mapping[str, int] | None = None,
        max_parallel: int | None = None,
        root: bool = True,
    ) -> None:
        settings = _settings(database_url, durability, busy_timeout, master_key)
        settings |= {"recovery_settlement": recovery_settlement, "drain": drain}
        _add(settings, egress, sessions, network, model_names_for_users, max_parallel)
        self._opened(settings, _native.Engine.open(settings).wait(), real_requests, root)

    @classmethod
    async def aopen(
        cls,
        database_url: str | os.PathLike[str],
        *,
        durability: Literal["full", "process"] = "full",
        busy_timeout: float | None = None,
        master_key: str | None = None,
        real_requests: bool | None = None,
        egress: Mapping[str, Any] | None = None,
        sessions: Mapping[str, Any] | None = None,
        model_names_for_users: bool = False,
        network: Mapping[str, str] | None = None,
        recovery_settlement: Literal["reserved", "floor"] = "reserved",
        drain: Mapping[str, int] | None = None,
        max_parallel: int | None = None,
        root: bool = True,
    ) -> Self:
        """Opens an engine without blocking the loop."""
        settings = _settings(database_url, durability, busy_timeout, master_key)
        settings |= {"recovery_settlement": recovery_settlement, "drain": drain}
        _add(settings, egress, sessions, network, model_names_for_users, max_parallel)
        engine = cls.__new__(cls)
        engine._opened(settings, await settled(_native.Engine.open(settings)), real_requests, root)
        return engine

    def _opened(self, settings: dict[str, Any], native: _native.Engine, real_requests: bool | None, root: bool) -> None:
        self.database_url: str = settings["database_url"]
        self._native_ = native
        self._overrides: list[Any] = []
        self._root = root
        self._entry_ = native.root("python") if root else None
        allowed = _real_requests if real_requests is None else real_requests
        if not allowed:
            native.allow_real_requests(False)
        if not _open:
            atexit.unregister(_close_all)
            atexit.register(_close_all)
        _open.add(self)

    def root(self, reason: str) -> Session:
        """A session of the host itself: trusted, and audited with the reason it gives."""
        if not self._root:
            _ = self._entry
        return Session(self._native_.root(reason))

    def login(self, email: str, password: str, *, source: str | None = None) -> Session:
        """A user's session. Errors: ``UnauthenticatedError``, the same whatever was wrong.

        ``source`` says where it comes from, such as an IP address: failures from there are held back together.
        """
        return Session(self._native_.login(email, password, source).wait())

    async def alogin(self, email: str, password: str, *, source: str | None = None) -> Session:
        """A user's session. Errors: ``UnauthenticatedError``, the same whatever was wrong."""
        return Session(await settled(self._native_.login(email, password, source)))

    def authenticate(self, token: str) -> Session:
        """A session by a token of a login: an opaque one, or a JSON web token."""
        return Session(self._native_.authenticate(token).wait())

    async def aauthenticate(self, token: str) -> Session:
        """A session by a token of a login: an opaque one, or a JSON web token."""
        return Session(await settled(self._native_.authenticate(token)))

    def api_key(self, key: str) -> Session:
        """A session by an API key. It may what the key's scopes and its owner's role both allow."""
        return Session(self._native_.api_key(key).wait())

    async def aapi_key(self, key: str) -> Session:
        """A session by an API key. It may what the key's scopes and its owner's role both allow."""
        return Session(await settled(self._native_.api_key(key)))

    def refresh(self, refresh_token: str) -> Tokens:
        """The next tokens for a refresh token, which is good once. A second use ends the login."""
        from ._records import Tokens

        return Tokens(self._native_.refresh(refresh_token).wait())

    async def arefresh(self, refresh_token: str) -> Tokens:
        """The next tokens for a refresh token, which is good once. A second use ends the login."""
        from ._records import Tokens

        return Tokens(await settled(self._native_.refresh(refresh_token)))

    def set_password(self, token: str, password: str) -> None:
        """Sets a new password by a token of ``users.reset_password``; ends all logins of the user."""
        self._native_.set_password(token, password).wait()

    async def aset_password(self, token: str, password: str) -> None:
        """Sets a new password by a token of ``users.reset_password``; ends all logins of the user."""
        await settled(self._native_.set_password(token, password))

    def recover(self) -> list[int]:
        """Goes on with the executions whose process is gone, and gives their ids.

        Call it once the tools are registered: an execution that needs one which is not there stays.
        """
        return self._native_.recover().wait()

    async def arecover(self) -> list[int]:
        """Goes on with the executions whose process is gone, and gives their ids."""
        return await settled(self._native_.recover())

    def register_provider(self, model: Scripted | FunctionModel | AzureOpenAI) -> None:
        """Serves a model of the host's own under its ``name``, for models whose ``provider`` that is."""
        from ._models import provider_of

        self._native_.register_provider(provider_of(model))

    def on_alert(self, function: A) -> A:
        """Calls a function, plain or async, with every :class:`Alert` that this process raises, behind its commit.

        It is called for one after the other and holds no execution up; what it raises goes to ``sys.unraisablehook``.
        Alerts of other processes are in ``alerts.list``. It gives the function back: ``@engine.on_alert`` works too.
        """
        from ._alerts import hearer

        self._native_.on_alert(*hearer(function))
        return function

    @overload
    def node(self, function: F, /) -> F: ...
    @overload
    def node(
        self,
        function: None = ...,
        /,
        *,
        name: str | None = ...,
        description: str | None = ...,
        config: Mapping[str, Any] | None = ...,
        input: Mapping[str, Any] | None = ...,
        ports: Sequence[str] | None = ...,
        effect: str = ...,
    ) -> Callable[[F], F]: ...
    def node(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        config: Mapping[str, Any] | None = None,
        input: Mapping[str, Any] | None = None,
        ports: Sequence[str] | None = None,
        effect: str = "unsafe",
    ) -> Any:
        """Makes a type of workflow nodes of a function, plain or async; the function itself stays as it is.

        The parameter ``input`` gets what a node is given, one annotated with :class:`ToolContext` the call's context, all
        others are its settings: the annotations give the schemas, the docstring the descriptions. What the function returns
        is the node's output, by the port ``out`` or by that of a :class:`NodeOutput`; ``ports`` lists them where there are
        others. What it raises is the node's error: an ``UnavailableError`` is tried again as the node's ``retry`` says.
        ``effect`` is ``"pure"``, ``"idempotent"`` or ``"unsafe"``: what may be done after a crash in the middle. With
        schemas of your own in ``config`` and ``input`` the function gets plain JSON values. Register it before ``recover``.
        """
        local = sys._getframe(1).f_locals

        def register(function: Any) -> Any:
            from ._nodes import NodeSpec

            spec = NodeSpec(
                function,
                name=name,
                description=description,
                config=config,
                input=input,
                ports=ports,
                effect=effect,
                local=local,
            )
            self._native_.register_node(spec.info, spec.call_async if spec.is_async else spec.call, spec.is_async)
            return function

        return register if function is None else register(function)

    @contextmanager
    def override(self, *, model: Scripted | FunctionModel | AzureOpenAI) -> Iterator[Any]:
        """Sends every model call of this engine to one model, for tests; the innermost counts."""
        from ._models import provider_of

        self._native_.override_models(provider_of(model))
        self._overrides.append(model)
        try:
            yield model
        finally:
            self._overrides.remove(model)
            last = self._overrides[-1] if self._overrides else None
            self._native_.override_models(last and last._provider)

    def allow_real_requests(self, allowed: bool) -> None:
        """Says whether models outside this process may be asked; where not, a call fails before it is sent."""
        self._native_.allow_real_requests(allowed)

    def close(self, *, grace: float | None = None) -> None:
        """Takes no new work, waits for what runs (5 seconds, or ``grace``), leaves the rest interrupted."""
        self._native_.close(grace).wait()
        # Only now: an engine whose closing was broken off is closed at exit.
        _open.discard(self)

    async def aclose(self, *, grace: float | None = None) -> None:
        """Takes no new work, waits for what runs (5 seconds, or ``grace``), leaves the rest interrupted."""
        await settled(self._native_.close(grace))
        _open.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"Engine({self.database_url!r})"

    def __reduce__(self) -> Any:
        raise TypeError("an Engine is a live handle and cannot be pickled: open the database where it is needed")


def _settings(
    database_url: str | os.PathLike[str], durability: str, busy_timeout: float | None, master_key: str | None
) -> dict[str, Any]:
    settings: dict[str, Any] = {"database_url": os.fspath(database_url), "durability": durability}
    if busy_timeout is not None:
        # Compared so, NaN is refused too.
        if not 0 <= busy_timeout < float("inf"):
            raise CLASSES["invalid_input"]("busy_timeout is a number of seconds, of 0 or more")
        settings["busy_timeout_ms"] = round(busy_timeout * 1000)
    if master_key is not None:
        settings["master_key"] = master_key
    return settings


def _add(
    settings: dict[str, Any],
    egress: Mapping[str, Any] | None,
    sessions: Mapping[str, Any] | None,
    network: Mapping[str, str] | None,
    model_names_for_users: bool,
    max_parallel: int | None,
) -> None:
    if egress is not None:
        settings["egress"] = egress
    if sessions is not None:
        settings["sessions"] = sessions
    if network is not None:
        settings["network"] = network
    settings["model_names_for_users"] = model_names_for_users
    if max_parallel is not None:
        settings["max_parallel"] = max_parallel


def allow_real_requests(allowed: bool) -> None:
    """Says for all engines of this process whether models outside it may be asked; for tests."""
    global _real_requests
    _real_requests = allowed
    for engine in list(_open):
        engine.allow_real_requests(allowed)


def _close_all() -> None:
    """At the interpreter's exit: takes no calls any more and closes what is open, for so long at most."""
    _native.shut_down([engine._native_ for engine in _open], _EXIT_GRACE, _EXIT_LIMIT)


Engine.__module__ = "blitz"
