"""A web service that reviews documents: FastAPI, streaming, a login for each user.

Run it by ``uvicorn service:app`` and ask it::

    curl -u ana@example.com:"a long passphrase" localhost:8000/reviews -d '{"text": "…"}' -H 'content-type: application/json'
    curl -N -u ana@example.com:"a long passphrase" localhost:8000/reviews/stream -d '{"text": "…"}' \
        -H 'content-type: application/json'

The engine runs in this process, on one file. A client that goes away in the middle of a stream cancels
its execution; what the service was in the middle of when it died goes on when it is started again.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import blitz
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import BaseModel

#: How the engine's errors are shown in HTTP; what is not here is the service's own fault.
STATUS = {
    "invalid_input": 422,
    "not_found": 404,
    "conflict": 409,
    "unauthenticated": 401,
    "permission_denied": 403,
    "budget_exceeded": 402,
    "rate_limited": 429,
}


class Document(BaseModel):
    """A document to review."""

    text: str


@dataclass
class Review:
    """What is to be known of a document before it is signed."""

    summary: str
    issues: list[str]


async def set_up(engine: blitz.Engine) -> None:
    """Puts what the service needs; doing it again changes nothing."""
    key = os.environ.get("OPENAI_API_KEY")
    if key:
        await engine.models.aput("reviewer", "openai", model_name="gpt-4o", api_key=key)
    else:
        await engine.models.aput("reviewer", "offline", model_name="offline")
    await engine.agents.aput(
        "review",
        "reviewer",
        instructions="Name what is risky for whoever signs this document.",
    )
    for noun, name in (("models", "reviewer"), ("agents", "review")):
        await engine.acall(f"{noun}.set_visibility", {"id": name, "visibility": "shared"})
    await engine.budgets.aput("a dollar for each user", "user", limit="1.00", hard=key is not None)
    if not await engine.users.alist(limit=1):
        await engine.users.acreate("ana@example.com", "a long passphrase", role="business_user")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Opens the engine, and goes on with what was interrupted."""
    async with await blitz.Engine.aopen(os.environ.get("BLITZ_DB", "service.db")) as engine:
        await set_up(engine)
        await engine.arecover()
        app.state.engine = engine
        yield


app = FastAPI(title="Reviews", lifespan=lifespan)
basic = HTTPBasic()


async def session_of(request: Request, given: Annotated[HTTPBasicCredentials, Depends(basic)]) -> blitz.Session:
    """The session of whoever asks: what it may do, the engine decides."""
    engine: blitz.Engine = request.app.state.engine
    return await engine.alogin(given.username, given.password)


Me = Annotated[blitz.Session, Depends(session_of)]


@app.exception_handler(blitz.BlitzError)
async def failed(request: Request, error: Exception) -> JSONResponse:
    """The engine's errors, with their stable codes."""
    assert isinstance(error, blitz.BlitzError)
    body = {"code": error.code, "message": error.message, "retryable": error.retryable}
    return JSONResponse(body, status_code=STATUS.get(error.code, 500))


@app.post("/reviews")
async def review(document: Document, me: Me) -> dict[str, Any]:
    """Reviews a document and gives the whole outcome."""
    done = await me.arun("review", document.text, output_type=Review)
    return done.to_dict()


@app.post("/reviews/stream")
async def stream(document: Document, me: Me) -> StreamingResponse:
    """Reviews a document and gives its events as they happen, as server-sent events."""
    return StreamingResponse(sent(me.astream("review", document.text)), media_type="text/event-stream")


@app.get("/executions/{id}/events")
async def events(id: int, me: Me, after: int = 0) -> StreamingResponse:
    """The events of an execution behind a place: for a client that lost its connection."""
    await me.executions.aget(id)
    return StreamingResponse(sent(me.aevents(id, after=after)), media_type="text/event-stream")


@app.get("/costs")
async def costs(me: Me) -> dict[str, Any]:
    """What whoever asks has spent."""
    return (await me.costs.asummary()).to_dict()


async def sent(stream: blitz.AsyncEventStream) -> AsyncIterator[str]:
    """Events as server-sent events."""
    async with stream:
        async for event in stream:
            yield f"id: {event.seq}\nevent: {event.type}\ndata: {json.dumps(event.to_dict())}\n\n"
