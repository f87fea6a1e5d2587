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

from ._calls import NodeOutput, ToolContext, ToolFatal, ToolRetry
from ._engine import Engine, allow_real_requests
from ._errors import (
    BlitzError,
    InvalidInputError,
    NotFoundError,
    ConflictError,
    UnauthenticatedError,
    PermissionDeniedError,
    BudgetExceededError,
    LimitExceededError,
    RateLimitedError,
    UnavailableError,
    TimeoutError,
    ProviderAuthError,
    ContextOverflowError,
    ContentFilteredError,
    BadOutputError,
    RefusedError,
    TooLargeError,
    ExpressionError,
    ToolFailedError,
    HeartbeatError,
    CancelledError,
    InterruptedError,
    StorageError,
    StorageFullError,
    ClosedError,
    InternalError,
    PanicError,
)
from ._events import AsyncEventStream, EventStream
from ._models import AzureOpenAI, FunctionModel, ModelCall, Scripted, price_per_million
from ._native import __version__
from ._execution import ExecutionHandle
from ._input import File, Image
from ._session import Session
from ._value import Value
from ._values import (
    AuditCheck,
    AuditRecord,
    Budget,
    BudgetWindow,
    CostSummary,
    ErrorInfo,
    Event,
    ExecutionRecord,
    ImportedPrices,
    ImportedWorkflow,
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
    Validation,
    WorkflowDiff,
    WorkflowVersion,
)
from ._workflow import Workflow

__all__ = [
    "AsyncEventStream",
    "AuditCheck",
    "AuditRecord",
    "AzureOpenAI",
    "BadOutputError",
    "BlitzError",
    "Budget",
    "BudgetExceededError",
    "BudgetWindow",
    "CancelledError",
    "ClosedError",
    "ConflictError",
    "ContentFilteredError",
    "ContextOverflowError",
    "CostSummary",
    "Engine",
    "ErrorInfo",
    "Event",
    "EventStream",
    "ExecutionHandle",
    "ExecutionRecord",
    "ExpressionError",
    "File",
    "FunctionModel",
    "HeartbeatError",
    "Image",
    "InternalError",
    "InterruptedError",
    "InvalidInputError",
    "ImportedPrices",
    "ImportedWorkflow",
    "LedgerEntry",
    "LimitExceededError",
    "Message",
    "ModelCall",
    "NodeOutput",
    "NotFoundError",
    "Outcome",
    "Page",
    "PanicError",
    "PermissionDeniedError",
    "PromptVersion",
    "ProviderAuthError",
    "RateLimitedError",
    "Record",
    "RefusedError",
    "Scripted",
    "Session",
    "Share",
    "Step",
    "StorageError",
    "StorageFullError",
    "TimeoutError",
    "TooLargeError",
    "ToolContext",
    "ToolFailedError",
    "ToolFatal",
    "ToolRetry",
    "UnauthenticatedError",
    "UnavailableError",
    "Usage",
    "User",
    "Validation",
    "Value",
    "Workflow",
    "WorkflowDiff",
    "WorkflowVersion",
    "__version__",
    "allow_real_requests",
    "price_per_million",
]
