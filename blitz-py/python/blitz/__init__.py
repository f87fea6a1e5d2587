"""Blitz is to agents what SQLite is to data: an engine that a program links.

::

    import blitz

    engine = blitz.Engine("blitz.db")

    @engine.tool
    def add(a: float, b: float) -> float:
        "Add two numbers."
        return a + b

    engine.models.put("m", "offline", model_name="offline")
    engine.agents.put("solver", "m", instructions="Solve it with tools.", tools=["add"])
    print(engine.run("solver", {"question": "2 + 3?"}).text)
"""

from __future__ import annotations

from ._calls import ToolContext, ToolFatal, ToolRetry
from ._engine import Engine, allow_real_requests
from ._errors import *  # noqa: F403
from ._errors import __all__ as _error_names
from ._events import AsyncEventStream, EventStream
from ._models import FunctionModel, ModelCall, Scripted, price_per_million
from ._native import __version__
from ._session import ExecutionHandle, Session
from ._values import (
    AuditCheck,
    AuditRecord,
    Budget,
    BudgetWindow,
    CostSummary,
    ErrorInfo,
    Event,
    ExecutionRecord,
    LedgerEntry,
    Message,
    Outcome,
    Page,
    PromptVersion,
    Record,
    Share,
    Step,
    Usage,
    User,
    Value,
)

__all__ = [
    "AsyncEventStream",
    "AuditCheck",
    "AuditRecord",
    "Budget",
    "BudgetWindow",
    "CostSummary",
    "Engine",
    "ErrorInfo",
    "Event",
    "EventStream",
    "ExecutionHandle",
    "ExecutionRecord",
    "FunctionModel",
    "LedgerEntry",
    "Message",
    "ModelCall",
    "Outcome",
    "Page",
    "PromptVersion",
    "Record",
    "Scripted",
    "Session",
    "Share",
    "Step",
    "ToolContext",
    "ToolFatal",
    "ToolRetry",
    "Usage",
    "User",
    "Value",
    "__version__",
    "allow_real_requests",
    "price_per_million",
    *_error_names,
]
