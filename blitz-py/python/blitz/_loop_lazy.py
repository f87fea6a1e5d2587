"""The door to ``_loop``: asyncio is imported when something is awaited, not with the package."""

from __future__ import annotations

import sys
from typing import Any

from . import _native


async def settled(pending: _native.Pending) -> Any:
    """Awaits an operation; cancelled or dropped, it breaks it off."""
    from ._loop import settled

    return await settled(pending)


def mailbox() -> _native.Mailbox:
    """The mailbox of the loop that runs here."""
    from ._loop import mailbox

    return mailbox()


def next_mailbox() -> _native.Mailbox | None:
    """On a thread of one of the engine's own loops: where async functions of a call that blocks it run."""
    # Where nothing was awaited yet there is no such thread.
    loop = sys.modules.get("blitz._loop")
    return None if loop is None else loop.next_mailbox()
