"""Awaiting the engine on asyncio, and the engine's own loop.

Each event loop has one mailbox, which it reads by a socket of its own. Nothing calls into a loop from
outside: a loop that is closed in the middle is never touched again.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import Any

from . import _native

_mailboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _native.Mailbox] = weakref.WeakKeyDictionary()
_lock = threading.Lock()
#: The mailboxes of the engine's own loops, by level.
_own: dict[int, _native.Mailbox] = {}
#: On the threads of these loops: their ``level``.
_here = threading.local()


def mailbox_of(loop: asyncio.AbstractEventLoop) -> _native.Mailbox:
    """The mailbox of a running loop."""
    mailbox = _mailboxes.get(loop)
    if mailbox is None:
        mailbox = _native.Mailbox()
        loop.add_reader(mailbox.fileno(), mailbox.drain)
        with _lock:
            # What a closed loop left under way refers to it: without this neither would ever end.
            for other in [other for other in _mailboxes if other.is_closed()]:
                _mailboxes.pop(other).abandon()
            _mailboxes[loop] = mailbox
        # One that is collected is found here no more, and what has run on it may hold its mailbox.
        weakref.finalize(loop, mailbox.abandon).atexit = False
    return mailbox


def mailbox() -> _native.Mailbox:
    """The mailbox of the loop that runs here."""
    return mailbox_of(asyncio.get_running_loop())


async def settled(pending: _native.Pending) -> Any:
    """Awaits an operation; cancelled or dropped, it breaks it off."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    pending.start(mailbox_of(loop), future)
    try:
        return await future
    finally:
        pending.abort()


def own_mailbox(level: int = 0) -> _native.Mailbox:
    """The mailbox of the engine's own loop: async functions of blocking calls run there.

    An async function that blocks in a call of its own stops its loop: what it waits for runs on the next one.
    """
    with _lock:
        own = _own.get(level)
    if own is not None:
        return own
    ready = threading.Event()
    made: list[_native.Mailbox] = []

    def serve() -> None:
        _here.level = level
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        made.append(mailbox_of(loop))
        loop.call_soon(ready.set)
        loop.run_forever()

    threading.Thread(target=serve, name="blitz-loop", daemon=True).start()
    ready.wait()
    with _lock:
        return _own.setdefault(level, made[0])


def next_mailbox() -> _native.Mailbox | None:
    """On a thread of one of the engine's own loops: where async functions of a call that blocks it run."""
    level = getattr(_here, "level", None)
    return None if level is None else own_mailbox(level + 1)
