"""Values of workflows, access and money: made when one is first asked for, so that importing costs nothing.

:mod:`blitz._values` shows them under its own name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._value import Value, _moment, _money
from ._values import ErrorInfo, Usage

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal


class Embeddings(Value):
    """The vectors of texts or images, and what they cost."""

    vectors: list[list[float]]
    model_name: str
    usage: Usage
    cost: Decimal | None
    _made = {"usage": Usage, "cost": _money}
    _shown = ("vectors", "model_name")


class RerunAs(Value):
    """The new execution."""

    execution_id: int
    _shown = ("execution_id",)


class NodeState(Value):
    """How one node of an execution stands: for tables, timelines and overlays."""

    node: str
    path: str
    status: str
    attempts: int
    started_at: datetime | None
    finished_at: datetime | None
    port: str | None
    input: Any
    output: Any
    output_ref: dict[str, Any] | None
    error: dict[str, Any] | None
    child_id: int | None
    usage: Usage
    cost: Decimal | None
    items: dict[str, Any] | None
    _made = {"started_at": _moment, "finished_at": _moment, "usage": Usage, "cost": _money}
    _shown = ("node", "path", "status")


class TimelineEntry(Value):
    """A node of a workflow or a step of an agent, on the timeline of its root."""

    execution_id: int
    path: str
    name: str
    status: str
    started_at: datetime | None
    finished_at: datetime | None
    attempts: list[dict[str, Any]]
    child_id: int | None
    usage: Usage
    cost: Decimal | None
    _made = {"started_at": _moment, "finished_at": _moment, "usage": Usage, "cost": _money}
    _shown = ("path", "name", "status")


class EnabledTrigger(Value):
    """A trigger of a workflow that fires."""

    id: int
    workflow_id: int
    trigger: dict[str, Any]
    runs_as: str
    next_at: datetime | None
    created_at: datetime
    _made = {"next_at": _moment, "created_at": _moment}
    _shown = ("id", "workflow_id", "next_at")


class Firing(Value):
    """What came of a firing."""

    id: int
    trigger_id: int
    slot: str
    at: datetime
    missed: int
    status: str
    execution_id: int | None
    data: Any
    error: ErrorInfo | None
    _made = {"at": _moment, "error": ErrorInfo}
    _shown = ("trigger_id", "slot", "status", "execution_id")


class PasswordReset(Value):
    """A token with which a user sets a new password: the one time that it is shown."""

    token: str
    expires_at: datetime
    _made = {"expires_at": _moment}
    _shown = ("expires_at",)


class RoleRecord(Value):
    """A stored role. The two built-in ones have the id 0 and cannot be changed."""

    id: int
    name: str
    description: str
    permissions: list[str]
    created_at: datetime
    updated_at: datetime
    _made = {"created_at": _moment, "updated_at": _moment}
    _shown = ("id", "name")


class IssuedKey(Value):
    """A new API key: the one time that it is shown. Of it only a keyed hash is kept."""

    key: str
    record: dict[str, Any]
    _shown = ("record",)


class KeyRecord(Value):
    """A stored API key. The key itself is not in it."""

    id: int
    user_id: int
    name: str
    prefix: str
    scopes: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None
    replaced_by: int | None
    _made = {"created_at": _moment, "expires_at": _moment, "used_at": _moment, "revoked_at": _moment}
    _shown = ("id", "user_id", "name")


class Tokens(Value):
    """Tokens for a client: the one time that they are shown. Of them only hashes are kept."""

    access_token: str
    expires_at: datetime
    refresh_token: str | None
    session_id: int
    user_id: int
    _made = {"expires_at": _moment}
    _shown = ("user_id",)


class SessionRecord(Value):
    """A login that lasts: it ends by itself when it is not used for a while, or at its latest day."""

    id: int
    user_id: int
    via: str
    source: str | None
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    _made = {"created_at": _moment, "seen_at": _moment, "expires_at": _moment}
    _shown = ("id", "user_id")


class TokenKey(Value):
    """A key that signs JSON web tokens, without its secret part."""

    kid: str
    algorithm: str
    public_key: str | None
    created_at: datetime
    retired_at: datetime | None
    _made = {"created_at": _moment, "retired_at": _moment}
    _shown = ("kid", "algorithm")


class SecretName(Value):
    """A secret by its name. Its value is never in it."""

    id: int
    name: str
    created_by: int | None
    created_at: datetime
    updated_at: datetime
    _made = {"created_at": _moment, "updated_at": _moment}
    _shown = ("id", "name")


class BudgetRevision(Value):
    """One state of a budget: what it said from one change to the next."""

    revision: int
    at: datetime
    spec: dict[str, Any]
    _made = {"at": _moment}
    _shown = ("revision", "at")


class BudgetRaise(Value):
    """More room for a while: a budget's limit is higher by an amount between two moments."""

    id: int
    budget_id: int
    amount: str | float
    until: datetime
    reason: str
    _made = {"from": _moment, "until": _moment}
    _shown = ("id",)
    _fields = frozenset({"from"})

    @property
    def from_(self) -> datetime:
        """The field `from`."""
        return getattr(self, "from")


class TagPolicy(Value):
    """The tags that all executions of somebody carry, whatever they say, and those they must have."""

    scope: str
    scope_id: int | None
    subject: str | None
    tags: dict[str, Any] | None
    required: list[str] | None
    _shown = ("scope",)


class UsageRow(Value):
    """One row of usage: what it is of, and its sums."""

    start: datetime | None
    user_id: int | None
    role: str | None
    key_id: int | None
    model: str | None
    provider: str | None
    agent_id: int | None
    agent: str | None
    workflow_id: int | None
    prompt: str | None
    tags: str | None
    cost: Decimal
    unpriced: int
    calls: int
    attempts: int
    failures: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    latency_us: int | None
    max_latency_us: int | None
    _made = {"start": _moment, "cost": _money}
    _shown = ("start", "model", "agent", "cost", "calls")


class UsageReport(Value):
    """The answer to a question about usage."""

    to: datetime | None
    rows: list[UsageRow]
    total: UsageRow
    _made = {"from": _moment, "to": _moment, "rows": UsageRow, "total": UsageRow}
    _shown = ("from", "to")
    _fields = frozenset({"from"})

    @property
    def from_(self) -> datetime | None:
        """The field `from`."""
        return getattr(self, "from")

    def __len__(self) -> int:
        return len(self.rows)

    def to_frame(self) -> Any:
        """A DataFrame of the rows, one column a figure: of pandas, or of polars where that is what is there."""
        from ._display import frame

        return frame(self.rows, UsageRow)

    def _repr_html_(self) -> str:
        from ._display import rows, table

        # The sum first: a long table is cut.
        return table(rows([self.total, *self.rows]))


class Rerated(Value):
    """What rating calls anew came to."""

    version: int
    calls: int
    changed: int
    unlisted: int
    sealed: int
    amount: Decimal
    _made = {"amount": _money}
    _shown = ("version", "changed", "amount")


class AuditRedaction(Value):
    """What a redaction of the trail came to."""

    redacted: int
    kept: int
    _shown = ("redacted", "kept")


class PriceVersion(Value):
    """A version of imported prices: none is ever changed."""

    version: int
    created_at: datetime
    effective_from: datetime
    source: str
    hash: str
    _made = {"created_at": _moment, "effective_from": _moment}
    _shown = ("version",)


class ListedPrice(Value):
    """What a model costs, and by which word."""

    price: dict[str, Any] | None
    version: int | None
    _shown = ("version",)


class RateLimit(Value):
    """A limit to put: so many calls and tokens a minute, so many calls at once."""

    scope: str
    scope_id: int | None
    subject: str | None
    limits: dict[str, Any]
    _shown = ("scope",)


class Alert(Value):
    """A budget that crossed one of its lines: raised once for each window."""

    id: int | None
    at: datetime | None
    kind: str | None
    budget_id: int
    budget: str
    scope_id: int
    window_start: datetime | None
    threshold: int
    posted: Decimal
    limit: Decimal
    exhausted_at: datetime | None
    _made = {"at": _moment, "window_start": _moment, "exhausted_at": _moment, "posted": _money, "limit": _money}
    _shown = ("id",)


class Webhook(Value):
    """A stored webhook. Its secret is never in it."""

    id: int
    name: str
    url: str
    events: list[str]
    active: bool
    allow_local: bool
    created_at: datetime
    updated_at: datetime
    _made = {"created_at": _moment, "updated_at": _moment}
    _shown = ("id", "name")


class Delivery(Value):
    """A message to a webhook, and how its delivery went."""

    id: int
    webhook_id: int
    event: str
    attempts: int
    next_at: datetime | None
    delivered_at: datetime | None
    error: str | None
    created_at: datetime
    _made = {"next_at": _moment, "delivered_at": _moment, "created_at": _moment}
    _shown = ("id",)


class AuditExport(Value):
    """A part of the trail, written out."""

    text: str
    records: int
    next_cursor: str | None
    _shown = ("text", "records")


class AuditSegment(Value):
    """Lines of the trail that were sealed and pruned: the chain goes on behind them."""

    first_seq: int
    last_seq: int
    head: str
    sealed_at: datetime
    _made = {"sealed_at": _moment}
    _shown = ("first_seq", "last_seq")
