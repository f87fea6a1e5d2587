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
_own: _native.Mailbox | None = None


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


def own_mailbox() -> _native.Mailbox:
    """The mailbox of the engine's own loop: async functions of blocking calls run there."""
    global _own
    with _lock:
        own = _own
    if own is not None:
        return own
    ready = threading.Event()
    made: list[_native.Mailbox] = []

    def serve() -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        made.append(mailbox_of(loop))
        loop.call_soon(ready.set)
        loop.run_forever()

    threading.Thread(target=serve, name="blitz-loop", daemon=True).start()
    ready.wait()
    with _lock:
        _own = _own or made[0]
        return _own
