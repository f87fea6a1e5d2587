"""Reading events, blocking and on asyncio. The engine hands them over in batches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from . import _native
from ._loop_lazy import settled
from ._values import Event


class EventStream(Iterator[Event]):
    """Events as a blocking iterator; one of ``stream`` cancels its execution when it is closed or dropped."""

    __slots__ = ("_batch", "_events")

    def __init__(self, open: Callable[[], _native.Events]) -> None:
        self._events: _native.Events | None = open()
        self._batch: list[Any] = []

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> Event:
        if not self._batch:
            if self._events is None:
                raise StopIteration
            self._events.fill().wait()
            batch = self._events.take()
            if batch is None:
                self.close()
                raise StopIteration
            batch.reverse()
            self._batch = batch
        return Event(self._batch.pop())

    def close(self) -> None:
        """Lets go of the events."""
        events, self._events, self._batch = self._events, None, []
        if events is not None:
            events.close()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncEventStream(AsyncIterator[Event]):
    """Events as an async iterator; one of ``astream`` cancels its execution when it is closed or dropped."""

    __slots__ = ("_batch", "_ended", "_events", "_open")

    def __init__(self, open: Callable[[], _native.Events]) -> None:
        self._open = open
        self._events: _native.Events | None = None
        self._batch: list[Any] = []
        self._ended = False

    def __aiter__(self) -> AsyncEventStream:
        return self

    async def __anext__(self) -> Event:
        if not self._batch:
            if self._ended:
                raise StopAsyncIteration
            if self._events is None:
                self._events = self._open()
            events = self._events
            await settled(events.fill())
            # No await between the two: what is taken is given.
            batch = events.take()
            if batch is None:
                await self.aclose()
                raise StopAsyncIteration
            batch.reverse()
            self._batch = batch
        return Event(self._batch.pop())

    async def aclose(self) -> None:
        """Lets go of the events."""
        events, self._events, self._batch, self._ended = self._events, None, [], True
        if events is not None:
            events.close()

    async def __aenter__(self) -> AsyncEventStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


EventStream.__module__ = AsyncEventStream.__module__ = "blitz"
