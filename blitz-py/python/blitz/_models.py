"""Models that are the host's own: answers from a list, and functions; for tests and for one's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from . import _native
from ._calls import whole
from ._calls import said
from ._errors import CLASSES, BlitzError

_InvalidInput = CLASSES["invalid_input"]

#: One answer: text, an error, or ``{"text": …}``, ``{"tool_calls": [{"name": …, "arguments": …}]}``,
#: ``{"parts": […]}``, ``{"vectors": […]}``, ``{"error": {"code": …, "message": …}}``, each with ``usage`` and ``delay_ms`` beside.
Reply = str | BlitzError | Mapping[str, Any]


def _plain(reply: Reply) -> Any:
    if isinstance(reply, str):
        return {"text": reply}
    if isinstance(reply, BlitzError):
        return {"error": {"code": reply.code, "message": reply.message} | said(reply)}
    return reply


class Scripted:
    """A model that gives these answers, one for each request, and then fails; it costs nothing.

    ::

        model = blitz.Scripted([{"tool_calls": [{"name": "add", "arguments": {"a": 2, "b": 3}}]}, "5"])
        with engine.override(model=model):
            ...
        model.requests[0]["messages"]
    """

    __slots__ = ("_provider", "name")

    def __init__(self, replies: Iterable[Reply], *, name: str = "scripted") -> None:
        self.name = name
        self._provider = _native.scripted([_plain(reply) for reply in replies], name)

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What it was asked so far, in order."""
        return self._provider.requests()

    def __repr__(self) -> str:
        return f"Scripted(name={self.name!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a Scripted model is live and cannot be pickled: make it where it is needed")


class ModelCall:
    """What a function model gets beside the request, where it takes two arguments."""

    __slots__ = ("_call",)

    def __init__(self, call: _native.Call) -> None:
        self._call = call

    def emit(self, text: str) -> None:
        """Hands a piece of the text to whoever reads the events, while the answer is made."""
        self._call.emit_text(text)

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._call.cancelled


class FunctionModel:
    """A model that is a function, plain or async: of the request, and of a :class:`ModelCall` if it requires two.

    The request is a dict (``model_name``, ``messages``, ``tools``, ``tool_choice``, ``output_schema``,
    ``settings``); the answer is as one of :class:`Scripted`. A :class:`BlitzError` that it raises keeps
    its code, so a ``RateLimitedError`` is tried again as the agent's policy says; any other exception is ``unavailable``. A
    ``RateLimitedError``, ``ProviderAuthError``, ``InvalidInputError`` or ``ContentFilteredError`` costs nothing, another failure all
    that the call may: ``details={"charged": "none"}`` (or ``"delivered"``, ``"unknown"``) says otherwise. ``retryable=False`` in it
    is not tried again, and ``details={"retry_after_ms": 2000}`` not before that time. ``free`` says that it
    costs nothing; else its model's price counts. ``remote`` says that it asks somebody outside this process:
    ``engine.allow_real_requests(False)`` forbids that. ``embeds`` says that ``engine.models.embed`` asks it too:
    such a request has ``inputs`` in place of ``messages``, and its answer is ``{"vectors": …}``.
    """

    __slots__ = ("_provider", "name")

    def __init__(
        self,
        function: Callable[..., Reply | Awaitable[Reply]],
        *,
        name: str = "function",
        free: bool = False,
        remote: bool = False,
        embeds: bool = False,
    ) -> None:
        import inspect

        self.name = name
        is_async = inspect.iscoroutinefunction(function)
        is_async = is_async or inspect.iscoroutinefunction(getattr(type(function), "__call__", None))
        by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(function).parameters.values()
        # What has a default is the function's own: a lambda in a loop keeps its variables so.
        takes_two = sum(each.kind in by_place and each.default is each.empty for each in parameters) >= 2

        def arguments(call: _native.Call) -> tuple[Any, ...]:
            return (call.input(), ModelCall(call)) if takes_two else (call.input(),)

        def plain(call: _native.Call) -> Any:
            return _answered(call, lambda: _plain(whole(function(*arguments(call)))))

        async def awaited(call: _native.Call) -> Any:
            try:
                return _plain(await function(*arguments(call)))  # type: ignore[misc]
            except BlitzError as error:
                return _plain(error)

        self._provider = _native.function_provider(name, awaited if is_async else plain, is_async, free, remote, embeds)

    def __repr__(self) -> str:
        return f"FunctionModel(name={self.name!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a FunctionModel is live and cannot be pickled: make it where it is needed")


class AzureOpenAI:
    """Azure OpenAI by tokens of Microsoft Entra, which ``token`` gives, plain or async.

    It gives a text, which is asked for before each request, or what ``azure.identity`` gives: an object with ``token`` and,
    in seconds since 1970, ``expires_on``; such a token is kept until five minutes before its end, and asked for anew where
    it is refused. Where it raises an exception, the model call fails with ``provider_auth``, or with the code of a
    :class:`BlitzError`, and never says its words: they may hold secrets. ``endpoint`` is the address of the resource, and tokens go there
    alone; ``model`` is the one that stands behind the deployment where its name says something else.
    """

    __slots__ = ("_provider", "name")

    def __init__(
        self,
        endpoint: str,
        token: Callable[[], Any],
        *,
        api_version: str | None = None,
        deployment: str | None = None,
        model: str | None = None,
        responses: bool = False,
        name: str = "azure",
    ) -> None:
        import inspect

        self.name = name
        is_async = inspect.iscoroutinefunction(token)
        is_async = is_async or inspect.iscoroutinefunction(getattr(type(token), "__call__", None))

        def plain(_: _native.Call) -> Any:
            return _token(whole(token()))

        async def awaited(_: _native.Call) -> Any:
            return _token(await token())

        settings: dict[str, Any] = {"endpoint": endpoint, "name": name, "responses": responses}
        for field, given in (("api_version", api_version), ("deployment", deployment), ("model", model)):
            if given is not None:
                settings[field] = given
        self._provider = _native.azure_provider(settings, awaited if is_async else plain, is_async)

    def __repr__(self) -> str:
        return f"AzureOpenAI(name={self.name!r})"

    def __reduce__(self) -> Any:
        raise TypeError("an AzureOpenAI is live and cannot be pickled: make it where it is needed")


def _token(given: Any) -> Any:
    if isinstance(given, str):
        return given
    token, ends = getattr(given, "token", None), getattr(given, "expires_on", None)
    if not isinstance(token, str):
        return None
    return token if ends is None else {"token": token, "expires_at": round(ends * 1_000_000)}


def _answered(call: _native.Call, answer: Callable[[], Any]) -> Any:
    try:
        return answer()
    except BlitzError as error:
        return _plain(error)


Model = Scripted | FunctionModel | AzureOpenAI


def provider_of(model: Any) -> _native.Provider:
    """What serves a model of the host's own. Errors: ``InvalidInputError`` for what is none."""
    if not isinstance(model, (Scripted, FunctionModel, AzureOpenAI)):
        kind = type(model).__name__
        raise _InvalidInput(f"a model of the host's own is a Scripted, a FunctionModel or an AzureOpenAI, and no {kind}")
    return model._provider


for _made in (Scripted, FunctionModel, ModelCall):
    _made.__module__ = "blitz"


def price_per_million(
    input: str | int | float,
    output: str | int | float,
    *,
    cache_read: str | int | float | None = None,
    cache_write: str | int | float | None = None,
    reasoning: str | int | float | None = None,
) -> dict[str, str]:
    """A model's ``price`` from what a price page prints: USD per million tokens."""
    rates = {
        "input": input,
        "output": output,
        "cache_read": cache_read,
        "cache_write": cache_write,
        "reasoning": reasoning,
    }
    return {name: _per_token(name, rate) for name, rate in rates.items() if rate is not None}


def _per_token(name: str, rate: Any) -> str:
    from decimal import Decimal, InvalidOperation

    try:
        # A float by its repr: 2.5 is meant as it is written.
        amount = Decimal(str(rate))
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite():
        raise _InvalidInput(f"{name}: {rate!r} is no amount of USD per million tokens, such as '2.50'")
    return f"{amount.scaleb(-6):f}"
