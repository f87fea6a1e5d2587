"""Reading events, blocking and on asyncio. The engine hands them over in batches.

Any number of threads or tasks may read one stream: each event goes to one of them, in order.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from . import _native
from ._loop_lazy import settled
from ._values import Event

if TYPE_CHECKING:
    import asyncio


class EventStream(Iterator[Event]):
    """Events as a blocking iterator; one of ``stream`` cancels its execution when it is closed or dropped."""

    __slots__ = ("_events", "_read", "_reading", "_ready")

    def __init__(self, open: Callable[[], _native.Events], *read: Callable[[Any], Any]) -> None:
        self._read = read
        self._events: _native.Events | None = open()
        self._ready: deque[Any] = deque()
        # A signal's handler may come here while its thread reads.
        self._reading = threading.RLock()

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> Event:
        while True:
            if not self._ready:
                self._fill()
            try:
                return Event(self._ready.popleft(), *self._read)
            except IndexError:
                # Another thread was quicker.
                continue

    def _fill(self) -> None:
        with self._reading:
            if self._ready:
                return
            events = self._events
            if events is None:
                raise StopIteration
            events.fill().wait()
            batch = events.take()
            if batch is None:
                self.close()
            else:
                self._ready.extend(batch)

    def close(self) -> None:
        """Lets go of the events."""
        events, self._events = self._events, None
        self._ready.clear()
        if events is not None:
            events.close()

    def __repr__(self) -> str:
        return f"<EventStream, {'closed' if self._events is None else 'open'}>"

    def __reduce__(self) -> Any:
        raise TypeError("an EventStream is a live handle and cannot be pickled: read it here, and pickle its events")

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncEventStream(AsyncIterator[Event]):
    """Events as an async iterator; one of ``astream`` cancels its execution when it is closed or dropped."""

    __slots__ = ("_ended", "_events", "_open", "_read", "_reading", "_ready")

    def __init__(self, open: Callable[[], _native.Events], *read: Callable[[Any], Any]) -> None:
        self._read = read
        self._open = open
        self._events: _native.Events | None = None
        self._ready: deque[Any] = deque()
        self._reading: asyncio.Lock | None = None
        self._ended = False

    def __aiter__(self) -> AsyncEventStream:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            await self._fill()
        return Event(self._ready.popleft(), *self._read)

    async def _fill(self) -> None:
        if self._reading is None:
            import asyncio

            self._reading = asyncio.Lock()
        async with self._reading:
            if self._ready:
                return
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
            else:
                self._ready.extend(batch)

    async def aclose(self) -> None:
        """Lets go of the events."""
        events, self._events, self._ended = self._events, None, True
        self._ready.clear()
        if events is not None:
            events.close()

    def __repr__(self) -> str:
        return f"<AsyncEventStream, {'closed' if self._ended else 'open'}>"

    def __reduce__(self) -> Any:
        raise TypeError("an AsyncEventStream is a live handle and cannot be pickled: read it here, and pickle its events")

    async def __aenter__(self) -> AsyncEventStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


EventStream.__module__ = AsyncEventStream.__module__ = "blitz"
