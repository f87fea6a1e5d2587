"""Functions that hear of alerts."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from . import _native
from ._records import Alert


def hearer(function: Callable[[Alert], Any]) -> tuple[Callable[..., Any], bool]:
    """What the engine calls for each alert, and whether it is async."""

    def plain(call: _native.Call) -> None:
        try:
            function(Alert(call.input()))
        except BaseException as error:
            _unraisable(error, function)

    async def awaited(call: _native.Call) -> None:
        import asyncio

        try:
            await function(Alert(call.input()))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            _unraisable(error, function)

    is_async = inspect.iscoroutinefunction(function)
    is_async = is_async or inspect.iscoroutinefunction(getattr(type(function), "__call__", None))
    return (awaited if is_async else plain), is_async


def _unraisable(error: BaseException, function: Any) -> None:
    """Nobody waits who could be told otherwise: what would end the program ends no thread of it either."""
    told: Any = SimpleNamespace(
        exc_type=type(error), exc_value=error, exc_traceback=error.__traceback__, err_msg=None, object=function
    )
    sys.unraisablehook(told)
