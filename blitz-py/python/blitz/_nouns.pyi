# Printed by stubs.py from the engine's method table: `make py-stubs` writes it anew.
import builtins
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from ._execution import ExecutionHandle
from ._records import (
    Alert,
    AuditExport,
    AuditRedaction,
    AuditSegment,
    BudgetRaise,
    BudgetRevision,
    Delivery,
    Embeddings,
    EnabledTrigger,
    Firing,
    IssuedKey,
    KeyRecord,
    ListedPrice,
    NodeState,
    PasswordReset,
    PriceVersion,
    RateLimit,
    Rerated,
    RerunAs,
    RoleRecord,
    SecretName,
    SessionRecord,
    TagPolicy,
    TimelineEntry,
    TokenKey,
    Tokens,
    UsageReport,
    Webhook,
)
from ._session import Session
from ._values import (
    AuditCheck,
    AuditRecord,
    Budget,
    BudgetWindow,
    CostSummary,
    ExecutionRecord,
    ImportedPrices,
    ImportedWorkflow,
    LedgerEntry,
    Outcome,
    Page,
    PromptVersion,
    Record,
    Share,
    Step,
    User,
    Validation,
    WorkflowDiff,
    WorkflowVersion,
)

NOUNS: dict[str, str]
DELEGATED: dict[str, str]
OWN: dict[str, dict[str, str]]

class Noun:
    def __init__(self, session: Session) -> None: ...

class Parameters:
    properties: dict[str, Any]
    required: frozenset[str]
    positional: list[str]
    fields: dict[str, str]
    doc: str
    def __init__(self, row: dict[str, Any]) -> None: ...
    def read(self, verb: str, given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]: ...
    def signature(self) -> Any: ...

def noun(name: str, session: Session) -> Noun: ...
def plain_of(verb: str) -> str: ...
def twin_of(verb: str) -> str: ...
def value_class(title: str) -> str: ...


class Models(Noun):
    """The models of the engine."""

    def create(
        self,
        name: str,
        provider: str,
        *,
        model_name: str,
        description: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        api_key_secret: str | None = None,
        headers: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        price: Mapping[str, Any] | None = None,
        max_output_tokens: int | None = None,
        limits: Mapping[str, Any] | None = None,
    ) -> Record:
        """``models.create``: A model to put into the catalogue: a provider, the provider's own model name, settings and price.

        Args:
            name: The name agents use.
            provider: Who serves it: one of `provider::names`, `offline`, `scripted`, or the name of a provider the host registered.
            model_name: The provider's own name of the model.
            description: For people.
            base_url: Where the provider is reached; its usual address where absent.
            api_key: The key, write only: it is sealed on arrival and never given back.
            api_key_secret: The name of a secret of `secrets.set` that is its key, where it has none of its own.
            headers: Headers that go with every request beside the engine's own, by name: a text, which is sealed as the key is
        and reads `***`, or `{"secret": name}`. None may be the key's own or say where a message begins or ends.
            settings: What every request of this model carries unless the agent says otherwise.
            price: What its tokens cost; unknown where absent, and then refused under a hard budget.
            max_output_tokens: The most output tokens the model can give; caps every request.
            limits: How much of it all executions of an engine together may ask for."""
    async def acreate(
        self,
        name: str,
        provider: str,
        *,
        model_name: str,
        description: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        api_key_secret: str | None = None,
        headers: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        price: Mapping[str, Any] | None = None,
        max_output_tokens: int | None = None,
        limits: Mapping[str, Any] | None = None,
    ) -> Record:
        """``models.create``: A model to put into the catalogue: a provider, the provider's own model name, settings and price.

        Args:
            name: The name agents use.
            provider: Who serves it: one of `provider::names`, `offline`, `scripted`, or the name of a provider the host registered.
            model_name: The provider's own name of the model.
            description: For people.
            base_url: Where the provider is reached; its usual address where absent.
            api_key: The key, write only: it is sealed on arrival and never given back.
            api_key_secret: The name of a secret of `secrets.set` that is its key, where it has none of its own.
            headers: Headers that go with every request beside the engine's own, by name: a text, which is sealed as the key is
        and reads `***`, or `{"secret": name}`. None may be the key's own or say where a message begins or ends.
            settings: What every request of this model carries unless the agent says otherwise.
            price: What its tokens cost; unknown where absent, and then refused under a hard budget.
            max_output_tokens: The most output tokens the model can give; caps every request.
            limits: How much of it all executions of an engine together may ask for."""

    def put(
        self,
        name: str,
        provider: str,
        *,
        model_name: str,
        description: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        api_key_secret: str | None = None,
        headers: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        price: Mapping[str, Any] | None = None,
        max_output_tokens: int | None = None,
        limits: Mapping[str, Any] | None = None,
    ) -> Record:
        """``models.put``: A model to put into the catalogue: a provider, the provider's own model name, settings and price.

        Args:
            name: The name agents use.
            provider: Who serves it: one of `provider::names`, `offline`, `scripted`, or the name of a provider the host registered.
            model_name: The provider's own name of the model.
            description: For people.
            base_url: Where the provider is reached; its usual address where absent.
            api_key: The key, write only: it is sealed on arrival and never given back.
            api_key_secret: The name of a secret of `secrets.set` that is its key, where it has none of its own.
            headers: Headers that go with every request beside the engine's own, by name: a text, which is sealed as the key is
        and reads `***`, or `{"secret": name}`. None may be the key's own or say where a message begins or ends.
            settings: What every request of this model carries unless the agent says otherwise.
            price: What its tokens cost; unknown where absent, and then refused under a hard budget.
            max_output_tokens: The most output tokens the model can give; caps every request.
            limits: How much of it all executions of an engine together may ask for."""
    async def aput(
        self,
        name: str,
        provider: str,
        *,
        model_name: str,
        description: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        api_key_secret: str | None = None,
        headers: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        price: Mapping[str, Any] | None = None,
        max_output_tokens: int | None = None,
        limits: Mapping[str, Any] | None = None,
    ) -> Record:
        """``models.put``: A model to put into the catalogue: a provider, the provider's own model name, settings and price.

        Args:
            name: The name agents use.
            provider: Who serves it: one of `provider::names`, `offline`, `scripted`, or the name of a provider the host registered.
            model_name: The provider's own name of the model.
            description: For people.
            base_url: Where the provider is reached; its usual address where absent.
            api_key: The key, write only: it is sealed on arrival and never given back.
            api_key_secret: The name of a secret of `secrets.set` that is its key, where it has none of its own.
            headers: Headers that go with every request beside the engine's own, by name: a text, which is sealed as the key is
        and reads `***`, or `{"secret": name}`. None may be the key's own or say where a message begins or ends.
            settings: What every request of this model carries unless the agent says otherwise.
            price: What its tokens cost; unknown where absent, and then refused under a hard budget.
            max_output_tokens: The most output tokens the model can give; caps every request.
            limits: How much of it all executions of an engine together may ask for."""

    def get(
        self,
        id: int | str,
    ) -> Record:
        """``models.get``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def aget(
        self,
        id: int | str,
    ) -> Record:
        """``models.get``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Record]:
        """``models.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Record]:
        """``models.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def update(
        self,
        id: int | str,
        patch: Mapping[str, Any],
    ) -> Record:
        """``models.update``: A change to a record.

        Args:
            id: Its id, its name, or `owner/name`.
            patch: A JSON merge patch of its fields."""
    async def aupdate(
        self,
        id: int | str,
        patch: Mapping[str, Any],
    ) -> Record:
        """``models.update``: A change to a record.

        Args:
            id: Its id, its name, or `owner/name`.
            patch: A JSON merge patch of its fields."""

    def delete(
        self,
        id: int | str,
    ) -> None:
        """``models.delete``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def adelete(
        self,
        id: int | str,
    ) -> None:
        """``models.delete``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def share(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``models.share``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""
    async def ashare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``models.share``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""

    def unshare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``models.unshare``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""
    async def aunshare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``models.unshare``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""

    def shares(
        self,
        id: int | str,
    ) -> builtins.list[Share]:
        """``models.shares``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def ashares(
        self,
        id: int | str,
    ) -> builtins.list[Share]:
        """``models.shares``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def set_visibility(
        self,
        id: int | str,
        visibility: Literal["private", "shared"],
    ) -> Record:
        """``models.set_visibility``: Who may see a record.

        Args:
            id: Its id, its name, or `owner/name`.
            visibility: Everybody or its owner."""
    async def aset_visibility(
        self,
        id: int | str,
        visibility: Literal["private", "shared"],
    ) -> Record:
        """``models.set_visibility``: Who may see a record.

        Args:
            id: Its id, its name, or `owner/name`.
            visibility: Everybody or its owner."""

    def import_prices(
        self,
        prices: str | Mapping[str, Any],
        *,
        source: str | None = None,
    ) -> ImportedPrices:
        """``models.import_prices``: A price map to import.

        Args:
            prices: The map: the text of its file, or the object itself.
            source: Where it comes from, for the audit trail."""
    async def aimport_prices(
        self,
        prices: str | Mapping[str, Any],
        *,
        source: str | None = None,
    ) -> ImportedPrices:
        """``models.import_prices``: A price map to import.

        Args:
            prices: The map: the text of its file, or the object itself.
            source: Where it comes from, for the audit trail."""

    def embed(
        self,
        model: str,
        inputs: Sequence[str | Mapping[str, Any]],
        *,
        dimensions: int | None = None,
        extra: Mapping[str, Any] | None = None,
        retry: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> Embeddings:
        """``models.embed``: What is to be embedded.

        Args:
            model: The model: a catalogue name, or `provider:model`.
            inputs: Texts, or images where the model sees; each becomes one vector.
            dimensions: How long the vectors should be, where the model can choose.
            extra: Fields of the provider's request that the engine does not know, passed through as they are.
            retry: When a failed attempt is made again.
            tags: What it is counted under; a call that a tool makes is counted under its execution's."""
    async def aembed(
        self,
        model: str,
        inputs: Sequence[str | Mapping[str, Any]],
        *,
        dimensions: int | None = None,
        extra: Mapping[str, Any] | None = None,
        retry: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> Embeddings:
        """``models.embed``: What is to be embedded.

        Args:
            model: The model: a catalogue name, or `provider:model`.
            inputs: Texts, or images where the model sees; each becomes one vector.
            dimensions: How long the vectors should be, where the model can choose.
            extra: Fields of the provider's request that the engine does not know, passed through as they are.
            retry: When a failed attempt is made again.
            tags: What it is counted under; a call that a tool makes is counted under its execution's."""


class Prompts(Noun):
    """The prompts of the engine."""

    def create(
        self,
        name: str,
        template: str,
        *,
        description: str | None = None,
        format: Literal["auto", "braces", "jinja"] | None = None,
        input_schema: Any = None,
        output_schema: Any = None,
    ) -> Record:
        """``prompts.create``: A prompt to put into the catalogue. A changed text, schema or format makes a new version.

        Args:
            name: The name agents use.
            description: For people.
            template: The text with its holes.
            format: How the holes are written; a stored prompt never says `auto`.
            input_schema: JSON Schema of the variables, checked before the text is made.
            output_schema: JSON Schema of the answer, for agents that set none."""
    async def acreate(
        self,
        name: str,
        template: str,
        *,
        description: str | None = None,
        format: Literal["auto", "braces", "jinja"] | None = None,
        input_schema: Any = None,
        output_schema: Any = None,
    ) -> Record:
        """``prompts.create``: A prompt to put into the catalogue. A changed text, schema or format makes a new version.

        Args:
            name: The name agents use.
            description: For people.
            template: The text with its holes.
            format: How the holes are written; a stored prompt never says `auto`.
            input_schema: JSON Schema of the variables, checked before the text is made.
            output_schema: JSON Schema of the answer, for agents that set none."""

    def put(
        self,
        name: str,
        template: str,
        *,
        description: str | None = None,
        format: Literal["auto", "braces", "jinja"] | None = None,
        input_schema: Any = None,
        output_schema: Any = None,
    ) -> Record:
        """``prompts.put``: A prompt to put into the catalogue. A changed text, schema or format makes a new version.

        Args:
            name: The name agents use.
            description: For people.
            template: The text with its holes.
            format: How the holes are written; a stored prompt never says `auto`.
            input_schema: JSON Schema of the variables, checked before the text is made.
            output_schema: JSON Schema of the answer, for agents that set none."""
    async def aput(
        self,
        name: str,
        template: str,
        *,
        description: str | None = None,
        format: Literal["auto", "braces", "jinja"] | None = None,
        input_schema: Any = None,
        output_schema: Any = None,
    ) -> Record:
        """``prompts.put``: A prompt to put into the catalogue. A changed text, schema or format makes a new version.

        Args:
            name: The name agents use.
            description: For people.
            template: The text with its holes.
            format: How the holes are written; a stored prompt never says `auto`.
            input_schema: JSON Schema of the variables, checked before the text is made.
            output_schema: JSON Schema of the answer, for agents that set none."""

    def get(
        self,
        id: int | str,
    ) -> Record:
        """``prompts.get``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def aget(
        self,
        id: int | str,
    ) -> Record:
        """``prompts.get``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Record]:
        """``prompts.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Record]:
        """``prompts.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def update(
        self,
        id: int | str,
        patch: Mapping[str, Any],
    ) -> Record:
        """``prompts.update``: A change to a record.

        Args:
            id: Its id, its name, or `owner/name`.
            patch: A JSON merge patch of its fields."""
    async def aupdate(
        self,
        id: int | str,
        patch: Mapping[str, Any],
    ) -> Record:
        """``prompts.update``: A change to a record.

        Args:
            id: Its id, its name, or `owner/name`.
            patch: A JSON merge patch of its fields."""

    def delete(
        self,
        id: int | str,
    ) -> None:
        """``prompts.delete``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def adelete(
        self,
        id: int | str,
    ) -> None:
        """``prompts.delete``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def share(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``prompts.share``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""
    async def ashare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``prompts.share``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""

    def unshare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``prompts.unshare``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""
    async def aunshare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``prompts.unshare``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""

    def shares(
        self,
        id: int | str,
    ) -> builtins.list[Share]:
        """``prompts.shares``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def ashares(
        self,
        id: int | str,
    ) -> builtins.list[Share]:
        """``prompts.shares``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def set_visibility(
        self,
        id: int | str,
        visibility: Literal["private", "shared"],
    ) -> Record:
        """``prompts.set_visibility``: Who may see a record.

        Args:
            id: Its id, its name, or `owner/name`.
            visibility: Everybody or its owner."""
    async def aset_visibility(
        self,
        id: int | str,
        visibility: Literal["private", "shared"],
    ) -> Record:
        """``prompts.set_visibility``: Who may see a record.

        Args:
            id: Its id, its name, or `owner/name`.
            visibility: Everybody or its owner."""

    def versions(
        self,
        id: int | str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[PromptVersion]:
        """``prompts.versions``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""
    async def aversions(
        self,
        id: int | str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[PromptVersion]:
        """``prompts.versions``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""

    def version(
        self,
        id: int | str,
        version: int,
    ) -> PromptVersion:
        """``prompts.version``: One version of a prompt.

        Args:
            id: The prompt's id, its name, or `owner/name`.
            version: The version's number."""
    async def aversion(
        self,
        id: int | str,
        version: int,
    ) -> PromptVersion:
        """``prompts.version``: One version of a prompt.

        Args:
            id: The prompt's id, its name, or `owner/name`.
            version: The version's number."""

    def render(
        self,
        id: int | str,
        *,
        version: int | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """``prompts.render``: A prompt to fill.

        Args:
            id: The prompt's id, its name, or `owner/name`.
            version: The version; the newest where absent.
            variables: What goes into its holes."""
    async def arender(
        self,
        id: int | str,
        *,
        version: int | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """``prompts.render``: A prompt to fill.

        Args:
            id: The prompt's id, its name, or `owner/name`.
            version: The version; the newest where absent.
            variables: What goes into its holes."""


class Tools(Noun):
    """The tools of the engine."""

    def create(
        self,
        name: str,
        *,
        description: str | None = None,
        kind: Literal["function", "builtin"] | None = None,
        builtin: str | None = None,
        config: Mapping[str, Any] | None = None,
        input_schema: Any = None,
        effect: Literal["pure", "idempotent", "unsafe"] | None = None,
        timeout_ms: int | None = None,
        sequential: bool | None = None,
        secrets: Mapping[str, Any] | None = None,
    ) -> Record:
        """``tools.create``: A tool to put into the catalogue.

        Args:
            name: The name agents and models use.
            description: What it does, for the model. A builtin has its own where this is empty.
            kind: Where its code is.
            builtin: Which builtin, where its name differs from `name`.
            config: Settings of a builtin, such as `{"root": "/srv/documents"}`.
            input_schema: JSON Schema of the arguments; a builtin has its own.
            effect: What happens to the world; `unsafe` where a function says nothing.
            timeout_ms: Time limit of one call in milliseconds; 60,000 where absent.
            sequential: Whether an agent's calls of it run one after another, in the order of the model's; calls of other tools go on.
            secrets: Arguments that are secrets of `secrets.set`, each with the secret's name: filled in at the call. A model neither
        sees nor gives them, and what the call says of them is masked. Whoever puts the tool needs `secrets:use`."""
    async def acreate(
        self,
        name: str,
        *,
        description: str | None = None,
        kind: Literal["function", "builtin"] | None = None,
        builtin: str | None = None,
        config: Mapping[str, Any] | None = None,
        input_schema: Any = None,
        effect: Literal["pure", "idempotent", "unsafe"] | None = None,
        timeout_ms: int | None = None,
        sequential: bool | None = None,
        secrets: Mapping[str, Any] | None = None,
    ) -> Record:
        """``tools.create``: A tool to put into the catalogue.

        Args:
            name: The name agents and models use.
            description: What it does, for the model. A builtin has its own where this is empty.
            kind: Where its code is.
            builtin: Which builtin, where its name differs from `name`.
            config: Settings of a builtin, such as `{"root": "/srv/documents"}`.
            input_schema: JSON Schema of the arguments; a builtin has its own.
            effect: What happens to the world; `unsafe` where a function says nothing.
            timeout_ms: Time limit of one call in milliseconds; 60,000 where absent.
            sequential: Whether an agent's calls of it run one after another, in the order of the model's; calls of other tools go on.
            secrets: Arguments that are secrets of `secrets.set`, each with the secret's name: filled in at the call. A model neither
        sees nor gives them, and what the call says of them is masked. Whoever puts the tool needs `secrets:use`."""

    def put(
        self,
        name: str,
        *,
        description: str | None = None,
        kind: Literal["function", "builtin"] | None = None,
        builtin: str | None = None,
        config: Mapping[str, Any] | None = None,
        input_schema: Any = None,
        effect: Literal["pure", "idempotent", "unsafe"] | None = None,
        timeout_ms: int | None = None,
        sequential: bool | None = None,
        secrets: Mapping[str, Any] | None = None,
    ) -> Record:
        """``tools.put``: A tool to put into the catalogue.

        Args:
            name: The name agents and models use.
            description: What it does, for the model. A builtin has its own where this is empty.
            kind: Where its code is.
            builtin: Which builtin, where its name differs from `name`.
            config: Settings of a builtin, such as `{"root": "/srv/documents"}`.
            input_schema: JSON Schema of the arguments; a builtin has its own.
            effect: What happens to the world; `unsafe` where a function says nothing.
            timeout_ms: Time limit of one call in milliseconds; 60,000 where absent.
            sequential: Whether an agent's calls of it run one after another, in the order of the model's; calls of other tools go on.
            secrets: Arguments that are secrets of `secrets.set`, each with the secret's name: filled in at the call. A model neither
        sees nor gives them, and what the call says of them is masked. Whoever puts the tool needs `secrets:use`."""
    async def aput(
        self,
        name: str,
        *,
        description: str | None = None,
        kind: Literal["function", "builtin"] | None = None,
        builtin: str | None = None,
        config: Mapping[str, Any] | None = None,
        input_schema: Any = None,
        effect: Literal["pure", "idempotent", "unsafe"] | None = None,
        timeout_ms: int | None = None,
        sequential: bool | None = None,
        secrets: Mapping[str, Any] | None = None,
    ) -> Record:
        """``tools.put``: A tool to put into the catalogue.

        Args:
            name: The name agents and models use.
            description: What it does, for the model. A builtin has its own where this is empty.
            kind: Where its code is.
            builtin: Which builtin, where its name differs from `name`.
            config: Settings of a builtin, such as `{"root": "/srv/documents"}`.
            input_schema: JSON Schema of the arguments; a builtin has its own.
            effect: What happens to the world; `unsafe` where a function says nothing.
            timeout_ms: Time limit of one call in milliseconds; 60,000 where absent.
            sequential: Whether an agent's calls of it run one after another, in the order of the model's; calls of other tools go on.
            secrets: Arguments that are secrets of `secrets.set`, each with the secret's name: filled in at the call. A model neither
        sees nor gives them, and what the call says of them is masked. Whoever puts the tool needs `secrets:use`."""

    def get(
        self,
        id: int | str,
    ) -> Record:
        """``tools.get``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def aget(
        self,
        id: int | str,
    ) -> Record:
        """``tools.get``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Record]:
        """``tools.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Record]:
        """``tools.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def update(
        self,
        id: int | str,
        patch: Mapping[str, Any],
    ) -> Record:
        """``tools.update``: A change to a record.

        Args:
            id: Its id, its name, or `owner/name`.
            patch: A JSON merge patch of its fields."""
    async def aupdate(
        self,
        id: int | str,
        patch: Mapping[str, Any],
    ) -> Record:
        """``tools.update``: A change to a record.

        Args:
            id: Its id, its name, or `owner/name`.
            patch: A JSON merge patch of its fields."""

    def delete(
        self,
        id: int | str,
    ) -> None:
        """``tools.delete``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def adelete(
        self,
        id: int | str,
    ) -> None:
        """``tools.delete``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def share(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``tools.share``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""
    async def ashare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``tools.share``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""

    def unshare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``tools.unshare``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""
    async def aunshare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``tools.unshare``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""

    def shares(
        self,
        id: int | str,
    ) -> builtins.list[Share]:
        """``tools.shares``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def ashares(
        self,
        id: int | str,
    ) -> builtins.list[Share]:
        """``tools.shares``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def set_visibility(
        self,
        id: int | str,
        visibility: Literal["private", "shared"],
    ) -> Record:
        """``tools.set_visibility``: Who may see a record.

        Args:
            id: Its id, its name, or `owner/name`.
            visibility: Everybody or its owner."""
    async def aset_visibility(
        self,
        id: int | str,
        visibility: Literal["private", "shared"],
    ) -> Record:
        """``tools.set_visibility``: Who may see a record.

        Args:
            id: Its id, its name, or `owner/name`.
            visibility: Everybody or its owner."""

    register = Session.register
    aregister = Session.aregister


class Agents(Noun):
    """The agents of the engine."""

    def create(
        self,
        name: str,
        model: str,
        *,
        description: str | None = None,
        instructions: str | None = None,
        prompt: str | Mapping[str, Any] | None = None,
        tools: Sequence[str] | None = None,
        agents: Sequence[str] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        output_schema: Any = None,
        limits: Mapping[str, Any] | None = None,
        retry: Mapping[str, Any] | None = None,
        fallback: Mapping[str, Any] | None = None,
    ) -> Record:
        """``agents.create``: An agent to put into the catalogue.

        Args:
            name: The name it is run by.
            description: For people, and for a model that is offered this agent as a tool.
            model: Its model: a catalogue name, or `provider:model` by what the environment holds, which only the host may
        use unless it lets users too.
            instructions: What the model is told to do.
            prompt: The prompt that makes a message of the input; without one the input itself is the message.
            tools: Names of the tools it may call.
            agents: Names of the agents it may call as tools.
            tool_choice: Which tool must be called first; later turns are free.
            settings: Settings that win over the model's.
            output_schema: JSON Schema of the output; without one the output is text.
            limits: Where it must stop.
            retry: When a failed model call is tried again.
            fallback: What else is asked where its model fails."""
    async def acreate(
        self,
        name: str,
        model: str,
        *,
        description: str | None = None,
        instructions: str | None = None,
        prompt: str | Mapping[str, Any] | None = None,
        tools: Sequence[str] | None = None,
        agents: Sequence[str] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        output_schema: Any = None,
        limits: Mapping[str, Any] | None = None,
        retry: Mapping[str, Any] | None = None,
        fallback: Mapping[str, Any] | None = None,
    ) -> Record:
        """``agents.create``: An agent to put into the catalogue.

        Args:
            name: The name it is run by.
            description: For people, and for a model that is offered this agent as a tool.
            model: Its model: a catalogue name, or `provider:model` by what the environment holds, which only the host may
        use unless it lets users too.
            instructions: What the model is told to do.
            prompt: The prompt that makes a message of the input; without one the input itself is the message.
            tools: Names of the tools it may call.
            agents: Names of the agents it may call as tools.
            tool_choice: Which tool must be called first; later turns are free.
            settings: Settings that win over the model's.
            output_schema: JSON Schema of the output; without one the output is text.
            limits: Where it must stop.
            retry: When a failed model call is tried again.
            fallback: What else is asked where its model fails."""

    def put(
        self,
        name: str,
        model: str,
        *,
        description: str | None = None,
        instructions: str | None = None,
        prompt: str | Mapping[str, Any] | None = None,
        tools: Sequence[str] | None = None,
        agents: Sequence[str] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        output_schema: Any = None,
        limits: Mapping[str, Any] | None = None,
        retry: Mapping[str, Any] | None = None,
        fallback: Mapping[str, Any] | None = None,
    ) -> Record:
        """``agents.put``: An agent to put into the catalogue.

        Args:
            name: The name it is run by.
            description: For people, and for a model that is offered this agent as a tool.
            model: Its model: a catalogue name, or `provider:model` by what the environment holds, which only the host may
        use unless it lets users too.
            instructions: What the model is told to do.
            prompt: The prompt that makes a message of the input; without one the input itself is the message.
            tools: Names of the tools it may call.
            agents: Names of the agents it may call as tools.
            tool_choice: Which tool must be called first; later turns are free.
            settings: Settings that win over the model's.
            output_schema: JSON Schema of the output; without one the output is text.
            limits: Where it must stop.
            retry: When a failed model call is tried again.
            fallback: What else is asked where its model fails."""
    async def aput(
        self,
        name: str,
        model: str,
        *,
        description: str | None = None,
        instructions: str | None = None,
        prompt: str | Mapping[str, Any] | None = None,
        tools: Sequence[str] | None = None,
        agents: Sequence[str] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        output_schema: Any = None,
        limits: Mapping[str, Any] | None = None,
        retry: Mapping[str, Any] | None = None,
        fallback: Mapping[str, Any] | None = None,
    ) -> Record:
        """``agents.put``: An agent to put into the catalogue.

        Args:
            name: The name it is run by.
            description: For people, and for a model that is offered this agent as a tool.
            model: Its model: a catalogue name, or `provider:model` by what the environment holds, which only the host may
        use unless it lets users too.
            instructions: What the model is told to do.
            prompt: The prompt that makes a message of the input; without one the input itself is the message.
            tools: Names of the tools it may call.
            agents: Names of the agents it may call as tools.
            tool_choice: Which tool must be called first; later turns are free.
            settings: Settings that win over the model's.
            output_schema: JSON Schema of the output; without one the output is text.
            limits: Where it must stop.
            retry: When a failed model call is tried again.
            fallback: What else is asked where its model fails."""

    def get(
        self,
        id: int | str,
    ) -> Record:
        """``agents.get``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def aget(
        self,
        id: int | str,
    ) -> Record:
        """``agents.get``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Record]:
        """``agents.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Record]:
        """``agents.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def update(
        self,
        id: int | str,
        patch: Mapping[str, Any],
    ) -> Record:
        """``agents.update``: A change to a record.

        Args:
            id: Its id, its name, or `owner/name`.
            patch: A JSON merge patch of its fields."""
    async def aupdate(
        self,
        id: int | str,
        patch: Mapping[str, Any],
    ) -> Record:
        """``agents.update``: A change to a record.

        Args:
            id: Its id, its name, or `owner/name`.
            patch: A JSON merge patch of its fields."""

    def delete(
        self,
        id: int | str,
    ) -> None:
        """``agents.delete``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def adelete(
        self,
        id: int | str,
    ) -> None:
        """``agents.delete``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def share(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``agents.share``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""
    async def ashare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``agents.share``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""

    def unshare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``agents.unshare``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""
    async def aunshare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``agents.unshare``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""

    def shares(
        self,
        id: int | str,
    ) -> builtins.list[Share]:
        """``agents.shares``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def ashares(
        self,
        id: int | str,
    ) -> builtins.list[Share]:
        """``agents.shares``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def set_visibility(
        self,
        id: int | str,
        visibility: Literal["private", "shared"],
    ) -> Record:
        """``agents.set_visibility``: Who may see a record.

        Args:
            id: Its id, its name, or `owner/name`.
            visibility: Everybody or its owner."""
    async def aset_visibility(
        self,
        id: int | str,
        visibility: Literal["private", "shared"],
    ) -> Record:
        """``agents.set_visibility``: Who may see a record.

        Args:
            id: Its id, its name, or `owner/name`.
            visibility: Everybody or its owner."""

    run = Session.run
    arun = Session.arun

    start = Session.start
    astart = Session.astart

    stream = Session.stream
    astream = Session.astream


class Workflows(Noun):
    """The workflows of the engine."""

    def create(
        self,
        name: str,
        *,
        format: str | None = None,
        ref: str | None = None,
        description: str | None = None,
        labels: Sequence[str] | None = None,
        inputs: Any = None,
        outputs: Any = None,
        vars: Mapping[str, Any] | None = None,
        nodes: Sequence[Mapping[str, Any]] | None = None,
        edges: Sequence[Mapping[str, Any]] | None = None,
        limits: Mapping[str, Any] | None = None,
        on_error: str | None = None,
        triggers: Sequence[Mapping[str, Any]] | None = None,
        ui: Any = None,
        x: Mapping[str, Any] | None = None,
    ) -> Record:
        """``workflows.create``: A workflow: nodes, edges between them, and what holds for the whole.

        A draft may be broken: it is kept as it is and cannot be published.

        Args:
            format: `blitz.workflow/1`.
            ref: An id of the author's own; the engine gives records theirs.
            name: The name it is run by; agents and workflows share their names.
            description: For people, and for a model that is offered this workflow as a tool.
            labels: Words to find it by.
            inputs: JSON Schema of the input.
            outputs: JSON Schema of the output. A property may hold `value`, an expression that gives it.
            vars: Variables that nodes write and read.
            nodes: The nodes, those of containers too.
            edges: The edges; their order decides between equals.
            limits: Where an execution must stop.
            on_error: The node that runs where an execution fails; it reads `error`.
            triggers: What starts it beside a call.
            ui: Viewport, notes and groups of a designer page; no part of the content.
            x: What an import found and the engine does not know; kept for the way back."""
    async def acreate(
        self,
        name: str,
        *,
        format: str | None = None,
        ref: str | None = None,
        description: str | None = None,
        labels: Sequence[str] | None = None,
        inputs: Any = None,
        outputs: Any = None,
        vars: Mapping[str, Any] | None = None,
        nodes: Sequence[Mapping[str, Any]] | None = None,
        edges: Sequence[Mapping[str, Any]] | None = None,
        limits: Mapping[str, Any] | None = None,
        on_error: str | None = None,
        triggers: Sequence[Mapping[str, Any]] | None = None,
        ui: Any = None,
        x: Mapping[str, Any] | None = None,
    ) -> Record:
        """``workflows.create``: A workflow: nodes, edges between them, and what holds for the whole.

        A draft may be broken: it is kept as it is and cannot be published.

        Args:
            format: `blitz.workflow/1`.
            ref: An id of the author's own; the engine gives records theirs.
            name: The name it is run by; agents and workflows share their names.
            description: For people, and for a model that is offered this workflow as a tool.
            labels: Words to find it by.
            inputs: JSON Schema of the input.
            outputs: JSON Schema of the output. A property may hold `value`, an expression that gives it.
            vars: Variables that nodes write and read.
            nodes: The nodes, those of containers too.
            edges: The edges; their order decides between equals.
            limits: Where an execution must stop.
            on_error: The node that runs where an execution fails; it reads `error`.
            triggers: What starts it beside a call.
            ui: Viewport, notes and groups of a designer page; no part of the content.
            x: What an import found and the engine does not know; kept for the way back."""

    def put(
        self,
        name: str,
        *,
        format: str | None = None,
        ref: str | None = None,
        description: str | None = None,
        labels: Sequence[str] | None = None,
        inputs: Any = None,
        outputs: Any = None,
        vars: Mapping[str, Any] | None = None,
        nodes: Sequence[Mapping[str, Any]] | None = None,
        edges: Sequence[Mapping[str, Any]] | None = None,
        limits: Mapping[str, Any] | None = None,
        on_error: str | None = None,
        triggers: Sequence[Mapping[str, Any]] | None = None,
        ui: Any = None,
        x: Mapping[str, Any] | None = None,
    ) -> Record:
        """``workflows.put``: A workflow: nodes, edges between them, and what holds for the whole.

        A draft may be broken: it is kept as it is and cannot be published.

        Args:
            format: `blitz.workflow/1`.
            ref: An id of the author's own; the engine gives records theirs.
            name: The name it is run by; agents and workflows share their names.
            description: For people, and for a model that is offered this workflow as a tool.
            labels: Words to find it by.
            inputs: JSON Schema of the input.
            outputs: JSON Schema of the output. A property may hold `value`, an expression that gives it.
            vars: Variables that nodes write and read.
            nodes: The nodes, those of containers too.
            edges: The edges; their order decides between equals.
            limits: Where an execution must stop.
            on_error: The node that runs where an execution fails; it reads `error`.
            triggers: What starts it beside a call.
            ui: Viewport, notes and groups of a designer page; no part of the content.
            x: What an import found and the engine does not know; kept for the way back."""
    async def aput(
        self,
        name: str,
        *,
        format: str | None = None,
        ref: str | None = None,
        description: str | None = None,
        labels: Sequence[str] | None = None,
        inputs: Any = None,
        outputs: Any = None,
        vars: Mapping[str, Any] | None = None,
        nodes: Sequence[Mapping[str, Any]] | None = None,
        edges: Sequence[Mapping[str, Any]] | None = None,
        limits: Mapping[str, Any] | None = None,
        on_error: str | None = None,
        triggers: Sequence[Mapping[str, Any]] | None = None,
        ui: Any = None,
        x: Mapping[str, Any] | None = None,
    ) -> Record:
        """``workflows.put``: A workflow: nodes, edges between them, and what holds for the whole.

        A draft may be broken: it is kept as it is and cannot be published.

        Args:
            format: `blitz.workflow/1`.
            ref: An id of the author's own; the engine gives records theirs.
            name: The name it is run by; agents and workflows share their names.
            description: For people, and for a model that is offered this workflow as a tool.
            labels: Words to find it by.
            inputs: JSON Schema of the input.
            outputs: JSON Schema of the output. A property may hold `value`, an expression that gives it.
            vars: Variables that nodes write and read.
            nodes: The nodes, those of containers too.
            edges: The edges; their order decides between equals.
            limits: Where an execution must stop.
            on_error: The node that runs where an execution fails; it reads `error`.
            triggers: What starts it beside a call.
            ui: Viewport, notes and groups of a designer page; no part of the content.
            x: What an import found and the engine does not know; kept for the way back."""

    def get(
        self,
        id: int | str,
    ) -> Record:
        """``workflows.get``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def aget(
        self,
        id: int | str,
    ) -> Record:
        """``workflows.get``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Record]:
        """``workflows.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Record]:
        """``workflows.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def update(
        self,
        id: int | str,
        patch: Mapping[str, Any],
    ) -> Record:
        """``workflows.update``: A change to a record.

        Args:
            id: Its id, its name, or `owner/name`.
            patch: A JSON merge patch of its fields."""
    async def aupdate(
        self,
        id: int | str,
        patch: Mapping[str, Any],
    ) -> Record:
        """``workflows.update``: A change to a record.

        Args:
            id: Its id, its name, or `owner/name`.
            patch: A JSON merge patch of its fields."""

    def delete(
        self,
        id: int | str,
    ) -> None:
        """``workflows.delete``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def adelete(
        self,
        id: int | str,
    ) -> None:
        """``workflows.delete``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def share(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``workflows.share``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""
    async def ashare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``workflows.share``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""

    def unshare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``workflows.unshare``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""
    async def aunshare(
        self,
        id: int | str,
        share: Mapping[str, Any],
    ) -> None:
        """``workflows.unshare``: A share of a record.

        Args:
            id: Its id, its name, or `owner/name`.
            share: To whom, and how far."""

    def shares(
        self,
        id: int | str,
    ) -> builtins.list[Share]:
        """``workflows.shares``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def ashares(
        self,
        id: int | str,
    ) -> builtins.list[Share]:
        """``workflows.shares``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def set_visibility(
        self,
        id: int | str,
        visibility: Literal["private", "shared"],
    ) -> Record:
        """``workflows.set_visibility``: Who may see a record.

        Args:
            id: Its id, its name, or `owner/name`.
            visibility: Everybody or its owner."""
    async def aset_visibility(
        self,
        id: int | str,
        visibility: Literal["private", "shared"],
    ) -> Record:
        """``workflows.set_visibility``: Who may see a record.

        Args:
            id: Its id, its name, or `owner/name`.
            visibility: Everybody or its owner."""

    def validate(
        self,
        definition: Any,
    ) -> Validation:
        """``workflows.validate``: A workflow of any shape.

        Args:
            definition: `blitz.workflow/1` or any other shape that can be imported."""
    async def avalidate(
        self,
        definition: Any,
    ) -> Validation:
        """``workflows.validate``: A workflow of any shape.

        Args:
            definition: `blitz.workflow/1` or any other shape that can be imported."""

    def publish(
        self,
        id: int | str,
    ) -> WorkflowVersion:
        """``workflows.publish``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""
    async def apublish(
        self,
        id: int | str,
    ) -> WorkflowVersion:
        """``workflows.publish``: A record by id or name.

        Args:
            id: Its id, its name, or `owner/name`."""

    def versions(
        self,
        id: int | str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[WorkflowVersion]:
        """``workflows.versions``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""
    async def aversions(
        self,
        id: int | str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[WorkflowVersion]:
        """``workflows.versions``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""

    def version(
        self,
        id: int | str,
        version: int,
    ) -> WorkflowVersion:
        """``workflows.version``: One version of a workflow.

        Args:
            id: The workflow's id, its name, or `owner/name`.
            version: The version's number."""
    async def aversion(
        self,
        id: int | str,
        version: int,
    ) -> WorkflowVersion:
        """``workflows.version``: One version of a workflow.

        Args:
            id: The workflow's id, its name, or `owner/name`.
            version: The version's number."""

    def diff(
        self,
        id: int | str,
        *,
        from_: int | None = None,
        to: int | None = None,
    ) -> WorkflowDiff:
        """``workflows.diff``: Two versions of a workflow.

        Args:
            id: The workflow's id, its name, or `owner/name`.
            from_: The older one; the newest version where absent.
            to: The newer one; the draft where absent."""
    async def adiff(
        self,
        id: int | str,
        *,
        from_: int | None = None,
        to: int | None = None,
    ) -> WorkflowDiff:
        """``workflows.diff``: Two versions of a workflow.

        Args:
            id: The workflow's id, its name, or `owner/name`.
            from_: The older one; the newest version where absent.
            to: The newer one; the draft where absent."""

    def rollback(
        self,
        id: int | str,
        version: int,
    ) -> WorkflowVersion:
        """``workflows.rollback``: One version of a workflow.

        Args:
            id: The workflow's id, its name, or `owner/name`.
            version: The version's number."""
    async def arollback(
        self,
        id: int | str,
        version: int,
    ) -> WorkflowVersion:
        """``workflows.rollback``: One version of a workflow.

        Args:
            id: The workflow's id, its name, or `owner/name`.
            version: The version's number."""

    def import_(
        self,
        definition: Any,
        *,
        name: str | None = None,
    ) -> ImportedWorkflow:
        """``workflows.import``: A workflow to read and keep.

        Args:
            definition: `blitz.workflow/1`, what Blitz 1.0 or its designer kept, or what React Flow keeps.
            name: Another name than its own."""
    async def aimport(
        self,
        definition: Any,
        *,
        name: str | None = None,
    ) -> ImportedWorkflow:
        """``workflows.import``: A workflow to read and keep.

        Args:
            definition: `blitz.workflow/1`, what Blitz 1.0 or its designer kept, or what React Flow keeps.
            name: Another name than its own."""

    def export(
        self,
        id: int | str,
        *,
        version: int | None = None,
    ) -> dict[str, Any]:
        """``workflows.export``: A version of a workflow, or its draft.

        Args:
            id: The workflow's id, its name, or `owner/name`.
            version: The version; the draft where absent."""
    async def aexport(
        self,
        id: int | str,
        *,
        version: int | None = None,
    ) -> dict[str, Any]:
        """``workflows.export``: A version of a workflow, or its draft.

        Args:
            id: The workflow's id, its name, or `owner/name`.
            version: The version; the draft where absent."""

    def picture(
        self,
        id: int | str,
        *,
        version: int | None = None,
        format: Literal["mermaid", "svg"] | None = None,
    ) -> str:
        """``workflows.picture``: A picture to draw.

        Args:
            id: The workflow's id, its name, or `owner/name`.
            version: The version; the draft where absent.
            format: How it is drawn."""
    async def apicture(
        self,
        id: int | str,
        *,
        version: int | None = None,
        format: Literal["mermaid", "svg"] | None = None,
    ) -> str:
        """``workflows.picture``: A picture to draw.

        Args:
            id: The workflow's id, its name, or `owner/name`.
            version: The version; the draft where absent.
            format: How it is drawn."""

    def schema(
        self,
    ) -> dict[str, Any]:
        """``workflows.schema``: Nothing."""
    async def aschema(
        self,
    ) -> dict[str, Any]:
        """``workflows.schema``: Nothing."""

    def node_types(
        self,
    ) -> builtins.list[dict[str, Any]]:
        """``workflows.node_types``: Nothing."""
    async def anode_types(
        self,
    ) -> builtins.list[dict[str, Any]]:
        """``workflows.node_types``: Nothing."""


class Executions(Noun):
    """The executions of the engine."""

    def get(
        self,
        id: int,
    ) -> ExecutionRecord:
        """``executions.get``: One execution.

        Args:
            id: The execution's id."""
    async def aget(
        self,
        id: int,
    ) -> ExecutionRecord:
        """``executions.get``: One execution.

        Args:
            id: The execution's id."""

    def list(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        page: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[ExecutionRecord]:
        """``executions.list``: A page of executions.

        Args:
            filter: Which ones.
            page: Which part of the list.
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        page: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[ExecutionRecord]:
        """``executions.list``: A page of executions.

        Args:
            filter: Which ones.
            page: Which part of the list.
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def steps(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Step]:
        """``executions.steps``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""
    async def asteps(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Step]:
        """``executions.steps``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""

    def outcome(
        self,
        id: int,
    ) -> Outcome[Any]:
        """``executions.outcome``: One execution.

        Args:
            id: The execution's id."""
    async def aoutcome(
        self,
        id: int,
    ) -> Outcome[Any]:
        """``executions.outcome``: One execution.

        Args:
            id: The execution's id."""

    def wait(
        self,
        id: int,
    ) -> Outcome[Any]:
        """``executions.wait``: One execution.

        Args:
            id: The execution's id."""
    async def await_(
        self,
        id: int,
    ) -> Outcome[Any]:
        """``executions.wait``: One execution.

        Args:
            id: The execution's id."""

    def cancel(
        self,
        id: int,
    ) -> None:
        """``executions.cancel``: One execution.

        Args:
            id: The execution's id."""
    async def acancel(
        self,
        id: int,
    ) -> None:
        """``executions.cancel``: One execution.

        Args:
            id: The execution's id."""

    def decide(
        self,
        id: int,
        key: str,
        *,
        decision: Mapping[str, Any],
        digest: str | None = None,
    ) -> None:
        """``executions.decide``: A decision about a step that waits.

        Args:
            id: The execution's id.
            key: The step, as `waiting_for` names it.
            decision: What becomes of it.
            digest: The digest that `waiting_for` names, where the decision must be about that very attempt."""
    async def adecide(
        self,
        id: int,
        key: str,
        *,
        decision: Mapping[str, Any],
        digest: str | None = None,
    ) -> None:
        """``executions.decide``: A decision about a step that waits.

        Args:
            id: The execution's id.
            key: The step, as `waiting_for` names it.
            decision: What becomes of it.
            digest: The digest that `waiting_for` names, where the decision must be about that very attempt."""

    def rerun(
        self,
        id: int,
        *,
        from_: str | None = None,
        input: Any = None,
        version: Literal["same", "latest"] | None = None,
    ) -> RerunAs:
        """``executions.rerun``: A workflow that runs again.

        Args:
            id: The execution that has ended.
            from_: The node that runs again, with everything behind it. Everything runs again where absent.
            input: Another input; the first one's where absent.
            version: Which version runs."""
    async def arerun(
        self,
        id: int,
        *,
        from_: str | None = None,
        input: Any = None,
        version: Literal["same", "latest"] | None = None,
    ) -> RerunAs:
        """``executions.rerun``: A workflow that runs again.

        Args:
            id: The execution that has ended.
            from_: The node that runs again, with everything behind it. Everything runs again where absent.
            input: Another input; the first one's where absent.
            version: Which version runs."""

    def redrive(
        self,
        id: int,
    ) -> RerunAs:
        """``executions.redrive``: One execution.

        Args:
            id: The execution's id."""
    async def aredrive(
        self,
        id: int,
    ) -> RerunAs:
        """``executions.redrive``: One execution.

        Args:
            id: The execution's id."""

    def nodes(
        self,
        id: int,
        *,
        path: str | None = None,
    ) -> builtins.list[NodeState]:
        """``executions.nodes``: The nodes of one scope of an execution.

        Args:
            id: The execution's id.
            path: Empty for the workflow itself, `review/3` for the body of an item or round."""
    async def anodes(
        self,
        id: int,
        *,
        path: str | None = None,
    ) -> builtins.list[NodeState]:
        """``executions.nodes``: The nodes of one scope of an execution.

        Args:
            id: The execution's id.
            path: Empty for the workflow itself, `review/3` for the body of an item or round."""

    def picture(
        self,
        id: int,
        *,
        format: Literal["mermaid", "svg"] | None = None,
    ) -> str:
        """``executions.picture``: A picture of an execution.

        Args:
            id: The execution's id.
            format: How it is drawn."""
    async def apicture(
        self,
        id: int,
        *,
        format: Literal["mermaid", "svg"] | None = None,
    ) -> str:
        """``executions.picture``: A picture of an execution.

        Args:
            id: The execution's id.
            format: How it is drawn."""

    def timeline(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[TimelineEntry]:
        """``executions.timeline``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""
    async def atimeline(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[TimelineEntry]:
        """``executions.timeline``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""

    def output(
        self,
        id: int,
        ref: str,
    ) -> dict[str, Any]:
        """``executions.output``: A large output.

        Args:
            id: The execution's id.
            ref: The hash that a record names it by."""
    async def aoutput(
        self,
        id: int,
        ref: str,
    ) -> dict[str, Any]:
        """``executions.output``: A large output.

        Args:
            id: The execution's id.
            ref: The hash that a record names it by."""

    def approve(
        self,
        id: int,
        key: str,
        *,
        option: str,
        comment: str | None = None,
        value: Any = None,
        digest: str | None = None,
    ) -> None:
        """``executions.approve``: An answer to a question that an execution asks.

        Args:
            id: The execution's id.
            key: The step, as `waiting_for` names it.
            option: One of the approval's options: `approved` or `rejected` where it names none of its own.
            comment: Why.
            value: What the answer brings with it; the node's output holds it.
            digest: The question's digest, where the answer must be to that very question."""
    async def aapprove(
        self,
        id: int,
        key: str,
        *,
        option: str,
        comment: str | None = None,
        value: Any = None,
        digest: str | None = None,
    ) -> None:
        """``executions.approve``: An answer to a question that an execution asks.

        Args:
            id: The execution's id.
            key: The step, as `waiting_for` names it.
            option: One of the approval's options: `approved` or `rejected` where it names none of its own.
            comment: Why.
            value: What the answer brings with it; the node's output holds it.
            digest: The question's digest, where the answer must be to that very question."""

    def recover(
        self,
    ) -> builtins.list[int]:
        """``executions.recover``: Nothing."""
    async def arecover(
        self,
    ) -> builtins.list[int]:
        """``executions.recover``: Nothing."""

    events = Session.events
    aevents = Session.aevents

    def handle(self, id: int) -> ExecutionHandle[Any]:
        """The handle on an execution whose id is known; nothing is asked yet."""


class Triggers(Noun):
    """The triggers of the engine."""

    def enable(
        self,
        workflow: int | str,
        *,
        from_: datetime | int | None = None,
    ) -> builtins.list[EnabledTrigger]:
        """``triggers.enable``: A workflow whose triggers are enabled.

        Args:
            workflow: The workflow's id, its name, or `owner/name`.
            from_: From when on its schedules fire; from now on where absent."""
    async def aenable(
        self,
        workflow: int | str,
        *,
        from_: datetime | int | None = None,
    ) -> builtins.list[EnabledTrigger]:
        """``triggers.enable``: A workflow whose triggers are enabled.

        Args:
            workflow: The workflow's id, its name, or `owner/name`.
            from_: From when on its schedules fire; from now on where absent."""

    def disable(
        self,
        workflow: int | str,
    ) -> None:
        """``triggers.disable``: The triggers of a workflow.

        Args:
            workflow: The workflow's id, its name, or `owner/name`."""
    async def adisable(
        self,
        workflow: int | str,
    ) -> None:
        """``triggers.disable``: The triggers of a workflow.

        Args:
            workflow: The workflow's id, its name, or `owner/name`."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[EnabledTrigger]:
        """``triggers.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[EnabledTrigger]:
        """``triggers.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def firings(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Firing]:
        """``triggers.firings``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""
    async def afirings(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Firing]:
        """``triggers.firings``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""

    def fire(
        self,
        name: str,
        *,
        data: Any = None,
        key: str | None = None,
    ) -> builtins.list[Firing]:
        """``triggers.fire``: A call from outside, or an event.

        Args:
            name: The name that triggers have.
            data: The request's body, or the event's data.
            key: What makes a repetition known: the same key fires once."""
    async def afire(
        self,
        name: str,
        *,
        data: Any = None,
        key: str | None = None,
    ) -> builtins.list[Firing]:
        """``triggers.fire``: A call from outside, or an event.

        Args:
            name: The name that triggers have.
            data: The request's body, or the event's data.
            key: What makes a repetition known: the same key fires once."""

    def emit(
        self,
        name: str,
        *,
        data: Any = None,
        key: str | None = None,
    ) -> builtins.list[Firing]:
        """``triggers.emit``: A call from outside, or an event.

        Args:
            name: The name that triggers have.
            data: The request's body, or the event's data.
            key: What makes a repetition known: the same key fires once."""
    async def aemit(
        self,
        name: str,
        *,
        data: Any = None,
        key: str | None = None,
    ) -> builtins.list[Firing]:
        """``triggers.emit``: A call from outside, or an event.

        Args:
            name: The name that triggers have.
            data: The request's body, or the event's data.
            key: What makes a repetition known: the same key fires once."""

    def tick(
        self,
        *,
        at: datetime | int | None = None,
    ) -> builtins.list[Firing]:
        """``triggers.tick``: A look at the clock.

        Args:
            at: What time it is taken to be; the machine's where absent."""
    async def atick(
        self,
        *,
        at: datetime | int | None = None,
    ) -> builtins.list[Firing]:
        """``triggers.tick``: A look at the clock.

        Args:
            at: What time it is taken to be; the machine's where absent."""


class Users(Noun):
    """The users of the engine."""

    def create(
        self,
        email: str,
        password: str,
        *,
        name: str | None = None,
        role: str | None = None,
        allow_weak: bool | None = None,
    ) -> User:
        """``users.create``: A user to create.

        Args:
            email: E-mail address; unique without regard to case.
            password: The password, write only: 8 to 1,024 bytes.
            name: For people.
            role: What the user may do.
            allow_weak: Whether the password may be a weak one: for demonstrations, and by the host alone."""
    async def acreate(
        self,
        email: str,
        password: str,
        *,
        name: str | None = None,
        role: str | None = None,
        allow_weak: bool | None = None,
    ) -> User:
        """``users.create``: A user to create.

        Args:
            email: E-mail address; unique without regard to case.
            password: The password, write only: 8 to 1,024 bytes.
            name: For people.
            role: What the user may do.
            allow_weak: Whether the password may be a weak one: for demonstrations, and by the host alone."""

    def get(
        self,
        id: int,
    ) -> User:
        """``users.get``: One user.

        Args:
            id: The user's id."""
    async def aget(
        self,
        id: int,
    ) -> User:
        """``users.get``: One user.

        Args:
            id: The user's id."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[User]:
        """``users.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[User]:
        """``users.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def update(
        self,
        id: int,
        update: Mapping[str, Any],
    ) -> User:
        """``users.update``: A change to a user.

        Args:
            id: The user's id.
            update: What changes."""
    async def aupdate(
        self,
        id: int,
        update: Mapping[str, Any],
    ) -> User:
        """``users.update``: A change to a user.

        Args:
            id: The user's id.
            update: What changes."""

    def delete(
        self,
        id: int,
    ) -> None:
        """``users.delete``: One user.

        Args:
            id: The user's id."""
    async def adelete(
        self,
        id: int,
    ) -> None:
        """``users.delete``: One user.

        Args:
            id: The user's id."""

    def me(
        self,
    ) -> User:
        """``users.me``: Nothing."""
    async def ame(
        self,
    ) -> User:
        """``users.me``: Nothing."""

    def change_password(
        self,
        old_password: str,
        new_password: str,
    ) -> None:
        """``users.change_password``: A new password of one's own.

        Args:
            old_password: The password until now.
            new_password: The password from now on."""
    async def achange_password(
        self,
        old_password: str,
        new_password: str,
    ) -> None:
        """``users.change_password``: A new password of one's own.

        Args:
            old_password: The password until now.
            new_password: The password from now on."""

    def reset_password(
        self,
        id: int,
    ) -> PasswordReset:
        """``users.reset_password``: One user.

        Args:
            id: The user's id."""
    async def areset_password(
        self,
        id: int,
    ) -> PasswordReset:
        """``users.reset_password``: One user.

        Args:
            id: The user's id."""

    def bootstrap(
        self,
        email: str,
        password: str,
        *,
        name: str | None = None,
        role: str | None = None,
        allow_weak: bool | None = None,
    ) -> User:
        """``users.bootstrap``: A user to create.

        Args:
            email: E-mail address; unique without regard to case.
            password: The password, write only: 8 to 1,024 bytes.
            name: For people.
            role: What the user may do.
            allow_weak: Whether the password may be a weak one: for demonstrations, and by the host alone."""
    async def abootstrap(
        self,
        email: str,
        password: str,
        *,
        name: str | None = None,
        role: str | None = None,
        allow_weak: bool | None = None,
    ) -> User:
        """``users.bootstrap``: A user to create.

        Args:
            email: E-mail address; unique without regard to case.
            password: The password, write only: 8 to 1,024 bytes.
            name: For people.
            role: What the user may do.
            allow_weak: Whether the password may be a weak one: for demonstrations, and by the host alone."""

    def import_(
        self,
        email: str,
        password_hash: str,
        *,
        name: str | None = None,
        role: str | None = None,
    ) -> User:
        """``users.import``: A user of another program, with its password hash.

        Args:
            email: E-mail address; unique without regard to case.
            password_hash: The hash, write only: werkzeug's `scrypt:N:r:p$salt$hex` or `pbkdf2:sha256:n$salt$hex`.
            name: For people.
            role: What the user may do."""
    async def aimport(
        self,
        email: str,
        password_hash: str,
        *,
        name: str | None = None,
        role: str | None = None,
    ) -> User:
        """``users.import``: A user of another program, with its password hash.

        Args:
            email: E-mail address; unique without regard to case.
            password_hash: The hash, write only: werkzeug's `scrypt:N:r:p$salt$hex` or `pbkdf2:sha256:n$salt$hex`.
            name: For people.
            role: What the user may do."""


class Roles(Noun):
    """The roles of the engine."""

    def create(
        self,
        name: str,
        permissions: Sequence[str],
        *,
        description: str | None = None,
    ) -> RoleRecord:
        """``roles.create``: A role to make: what its users may, a part of what its maker may.

        Args:
            name: Lower-case letters, digits, `_` and `-`, a letter first, at most 64.
            permissions: What it allows.
            description: For people."""
    async def acreate(
        self,
        name: str,
        permissions: Sequence[str],
        *,
        description: str | None = None,
    ) -> RoleRecord:
        """``roles.create``: A role to make: what its users may, a part of what its maker may.

        Args:
            name: Lower-case letters, digits, `_` and `-`, a letter first, at most 64.
            permissions: What it allows.
            description: For people."""

    def get(
        self,
        name: str,
    ) -> RoleRecord:
        """``roles.get``: One role.

        Args:
            name: The role's name."""
    async def aget(
        self,
        name: str,
    ) -> RoleRecord:
        """``roles.get``: One role.

        Args:
            name: The role's name."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[RoleRecord]:
        """``roles.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[RoleRecord]:
        """``roles.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def update(
        self,
        name: str,
        update: Mapping[str, Any],
    ) -> RoleRecord:
        """``roles.update``: A change to a role.

        Args:
            name: The role's name.
            update: What changes."""
    async def aupdate(
        self,
        name: str,
        update: Mapping[str, Any],
    ) -> RoleRecord:
        """``roles.update``: A change to a role.

        Args:
            name: The role's name.
            update: What changes."""

    def delete(
        self,
        name: str,
    ) -> None:
        """``roles.delete``: One role.

        Args:
            name: The role's name."""
    async def adelete(
        self,
        name: str,
    ) -> None:
        """``roles.delete``: One role.

        Args:
            name: The role's name."""


class Keys(Noun):
    """The keys of the engine."""

    def create(
        self,
        *,
        name: str | None = None,
        scopes: Sequence[str] | None = None,
        expires_at: datetime | int | None = None,
        user_id: int | None = None,
    ) -> IssuedKey:
        """``keys.create``: An API key to make.

        Args:
            name: For people.
            scopes: What it allows at most, within what its owner may; all of that where absent.
            expires_at: When it ends; never where absent.
            user_id: Whose it is; the caller's own where absent. Another's takes `keys:manage:all`."""
    async def acreate(
        self,
        *,
        name: str | None = None,
        scopes: Sequence[str] | None = None,
        expires_at: datetime | int | None = None,
        user_id: int | None = None,
    ) -> IssuedKey:
        """``keys.create``: An API key to make.

        Args:
            name: For people.
            scopes: What it allows at most, within what its owner may; all of that where absent.
            expires_at: When it ends; never where absent.
            user_id: Whose it is; the caller's own where absent. Another's takes `keys:manage:all`."""

    def get(
        self,
        id: int,
    ) -> KeyRecord:
        """``keys.get``: One key.

        Args:
            id: The key's id."""
    async def aget(
        self,
        id: int,
    ) -> KeyRecord:
        """``keys.get``: One key.

        Args:
            id: The key's id."""

    def list(
        self,
        *,
        user_id: int | None = None,
        page: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[KeyRecord]:
        """``keys.list``: A page of keys.

        Args:
            user_id: Whose; everybody's that the caller may see where absent.
            page: Which part of the list.
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        user_id: int | None = None,
        page: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[KeyRecord]:
        """``keys.list``: A page of keys.

        Args:
            user_id: Whose; everybody's that the caller may see where absent.
            page: Which part of the list.
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def rotate(
        self,
        id: int,
        *,
        overlap_seconds: int | None = None,
        expires_at: datetime | int | None = None,
    ) -> IssuedKey:
        """``keys.rotate``: A key to replace.

        Args:
            id: The key's id.
            overlap_seconds: How many seconds the old key goes on; a day where absent, 30 days at most.
            expires_at: When the new key ends; as the old one where absent."""
    async def arotate(
        self,
        id: int,
        *,
        overlap_seconds: int | None = None,
        expires_at: datetime | int | None = None,
    ) -> IssuedKey:
        """``keys.rotate``: A key to replace.

        Args:
            id: The key's id.
            overlap_seconds: How many seconds the old key goes on; a day where absent, 30 days at most.
            expires_at: When the new key ends; as the old one where absent."""

    def revoke(
        self,
        id: int,
    ) -> None:
        """``keys.revoke``: One key.

        Args:
            id: The key's id."""
    async def arevoke(
        self,
        id: int,
    ) -> None:
        """``keys.revoke``: One key.

        Args:
            id: The key's id."""


class Sessions(Noun):
    """The sessions of the engine."""

    def tokens(
        self,
        *,
        kind: Literal["session", "jwt"] | None = None,
    ) -> Tokens:
        """``sessions.tokens``: What kind of token.

        Args:
            kind: `session` or `jwt`."""
    async def atokens(
        self,
        *,
        kind: Literal["session", "jwt"] | None = None,
    ) -> Tokens:
        """``sessions.tokens``: What kind of token.

        Args:
            kind: `session` or `jwt`."""

    def open(
        self,
        user_id: int,
        *,
        kind: Literal["session", "jwt"] | None = None,
        source: str | None = None,
    ) -> Tokens:
        """``sessions.open``: A login for a user whom the host has made sure of.

        Args:
            user_id: The user's id.
            kind: `session` or `jwt`.
            source: Where it comes from."""
    async def aopen(
        self,
        user_id: int,
        *,
        kind: Literal["session", "jwt"] | None = None,
        source: str | None = None,
    ) -> Tokens:
        """``sessions.open``: A login for a user whom the host has made sure of.

        Args:
            user_id: The user's id.
            kind: `session` or `jwt`.
            source: Where it comes from."""

    def list(
        self,
        *,
        user_id: int | None = None,
        page: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[SessionRecord]:
        """``sessions.list``: A page of logins.

        Args:
            user_id: Whose; the caller's own where absent, for the host everybody's.
            page: Which part of the list.
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        user_id: int | None = None,
        page: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[SessionRecord]:
        """``sessions.list``: A page of logins.

        Args:
            user_id: Whose; the caller's own where absent, for the host everybody's.
            page: Which part of the list.
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def logout(
        self,
    ) -> None:
        """``sessions.logout``: Nothing."""
    async def alogout(
        self,
    ) -> None:
        """``sessions.logout``: Nothing."""

    def revoke(
        self,
        id: int,
    ) -> None:
        """``sessions.revoke``: One login.

        Args:
            id: Its id."""
    async def arevoke(
        self,
        id: int,
    ) -> None:
        """``sessions.revoke``: One login.

        Args:
            id: Its id."""

    def revoke_all(
        self,
        *,
        user_id: int | None = None,
    ) -> None:
        """``sessions.revoke_all``: All logins of a user.

        Args:
            user_id: Whose; the caller's own where absent."""
    async def arevoke_all(
        self,
        *,
        user_id: int | None = None,
    ) -> None:
        """``sessions.revoke_all``: All logins of a user.

        Args:
            user_id: Whose; the caller's own where absent."""

    def token_keys(
        self,
    ) -> builtins.list[TokenKey]:
        """``sessions.token_keys``: Nothing."""
    async def atoken_keys(
        self,
    ) -> builtins.list[TokenKey]:
        """``sessions.token_keys``: Nothing."""

    def rotate_token_key(
        self,
        *,
        algorithm: Literal["HS256", "EdDSA"] | None = None,
        end_tokens: bool | None = None,
    ) -> TokenKey:
        """``sessions.rotate_token_key``: Another key for JSON web tokens.

        Args:
            algorithm: `HS256` or `EdDSA`; as the engine was opened where absent.
            end_tokens: Whether the tokens that were signed by older keys end now."""
    async def arotate_token_key(
        self,
        *,
        algorithm: Literal["HS256", "EdDSA"] | None = None,
        end_tokens: bool | None = None,
    ) -> TokenKey:
        """``sessions.rotate_token_key``: Another key for JSON web tokens.

        Args:
            algorithm: `HS256` or `EdDSA`; as the engine was opened where absent.
            end_tokens: Whether the tokens that were signed by older keys end now."""


class Secrets(Noun):
    """The secrets of the engine."""

    def set(
        self,
        name: str,
        value: str,
    ) -> SecretName:
        """``secrets.set``: A secret to keep.

        Args:
            name: Its name: what a model's `api_key_secret` says.
            value: Its value, write only."""
    async def aset(
        self,
        name: str,
        value: str,
    ) -> SecretName:
        """``secrets.set``: A secret to keep.

        Args:
            name: Its name: what a model's `api_key_secret` says.
            value: Its value, write only."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[SecretName]:
        """``secrets.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[SecretName]:
        """``secrets.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def delete(
        self,
        name: str,
    ) -> None:
        """``secrets.delete``: One secret.

        Args:
            name: Its name."""
    async def adelete(
        self,
        name: str,
    ) -> None:
        """``secrets.delete``: One secret.

        Args:
            name: Its name."""

    def rotate_master_key(
        self,
        *,
        key: str | None = None,
    ) -> None:
        """``secrets.rotate_master_key``: Another master key.

        Args:
            key: 32 bytes, as 64 hex digits; absent where a file keeps the key."""
    async def arotate_master_key(
        self,
        *,
        key: str | None = None,
    ) -> None:
        """``secrets.rotate_master_key``: Another master key.

        Args:
            key: 32 bytes, as 64 hex digits; absent where a file keeps the key."""


class Budgets(Noun):
    """The budgets of the engine."""

    def create(
        self,
        name: str,
        scope: Literal["user", "role", "key", "model", "provider", "agent", "workflow", "execution", "tag", "all"],
        *,
        scope_id: int | None = None,
        subject: str | None = None,
        model: str | None = None,
        unit: Literal["usd", "tokens", "requests"] | None = None,
        period: Literal["none", "execution", "rolling", "hour", "day", "week", "month", "year"] | None = None,
        hours: int | None = None,
        time_zone: str | None = None,
        limit: str | float | None = None,
        hard: bool | None = None,
        thresholds: Sequence[int] | None = None,
        on_exceed: Literal["deny", "downgrade", "ask"] | None = None,
        downgrade_to: str | None = None,
        on_unpriced: Literal["refuse", "record"] | None = None,
        burn_rate: int | None = None,
        projection: bool | None = None,
    ) -> Budget:
        """``budgets.create``: A budget to put: a limit of money, tokens or requests for a scope.

        Args:
            name: The name it is put by; unique.
            scope: Whose spending it counts.
            scope_id: Which user, key, agent, workflow or execution; each one on its own where absent.
            subject: Which role, model, provider or tag; each one on its own where absent.
            model: Only calls of this model, by its catalogue name.
            unit: What it counts in.
            period: Over what it counts before it begins anew.
            hours: How many hours a rolling period has: 1 to 8,784.
            time_zone: The time zone of a calendar's period, `Europe/Berlin`; UTC where absent.
            limit: The limit: decimal USD, tokens or requests; 0 blocks, absent is without limit.
            hard: Hard refuses before the call is sent; soft only raises an alert.
            thresholds: Percent of the limit at which one alert is raised; 80 and 100 where absent.
            on_exceed: What becomes of a call that it has no room for.
            downgrade_to: The cheaper model that is asked instead, where `on_exceed` is `downgrade`; the agent's next
        fallback where absent.
            on_unpriced: What becomes of a call whose price is unknown.
            burn_rate: An alert where an hour books more than so many times the median of the day before it.
            projection: An alert where the window, going on like this, passes its limit before it ends."""
    async def acreate(
        self,
        name: str,
        scope: Literal["user", "role", "key", "model", "provider", "agent", "workflow", "execution", "tag", "all"],
        *,
        scope_id: int | None = None,
        subject: str | None = None,
        model: str | None = None,
        unit: Literal["usd", "tokens", "requests"] | None = None,
        period: Literal["none", "execution", "rolling", "hour", "day", "week", "month", "year"] | None = None,
        hours: int | None = None,
        time_zone: str | None = None,
        limit: str | float | None = None,
        hard: bool | None = None,
        thresholds: Sequence[int] | None = None,
        on_exceed: Literal["deny", "downgrade", "ask"] | None = None,
        downgrade_to: str | None = None,
        on_unpriced: Literal["refuse", "record"] | None = None,
        burn_rate: int | None = None,
        projection: bool | None = None,
    ) -> Budget:
        """``budgets.create``: A budget to put: a limit of money, tokens or requests for a scope.

        Args:
            name: The name it is put by; unique.
            scope: Whose spending it counts.
            scope_id: Which user, key, agent, workflow or execution; each one on its own where absent.
            subject: Which role, model, provider or tag; each one on its own where absent.
            model: Only calls of this model, by its catalogue name.
            unit: What it counts in.
            period: Over what it counts before it begins anew.
            hours: How many hours a rolling period has: 1 to 8,784.
            time_zone: The time zone of a calendar's period, `Europe/Berlin`; UTC where absent.
            limit: The limit: decimal USD, tokens or requests; 0 blocks, absent is without limit.
            hard: Hard refuses before the call is sent; soft only raises an alert.
            thresholds: Percent of the limit at which one alert is raised; 80 and 100 where absent.
            on_exceed: What becomes of a call that it has no room for.
            downgrade_to: The cheaper model that is asked instead, where `on_exceed` is `downgrade`; the agent's next
        fallback where absent.
            on_unpriced: What becomes of a call whose price is unknown.
            burn_rate: An alert where an hour books more than so many times the median of the day before it.
            projection: An alert where the window, going on like this, passes its limit before it ends."""

    def put(
        self,
        name: str,
        scope: Literal["user", "role", "key", "model", "provider", "agent", "workflow", "execution", "tag", "all"],
        *,
        scope_id: int | None = None,
        subject: str | None = None,
        model: str | None = None,
        unit: Literal["usd", "tokens", "requests"] | None = None,
        period: Literal["none", "execution", "rolling", "hour", "day", "week", "month", "year"] | None = None,
        hours: int | None = None,
        time_zone: str | None = None,
        limit: str | float | None = None,
        hard: bool | None = None,
        thresholds: Sequence[int] | None = None,
        on_exceed: Literal["deny", "downgrade", "ask"] | None = None,
        downgrade_to: str | None = None,
        on_unpriced: Literal["refuse", "record"] | None = None,
        burn_rate: int | None = None,
        projection: bool | None = None,
    ) -> Budget:
        """``budgets.put``: A budget to put: a limit of money, tokens or requests for a scope.

        Args:
            name: The name it is put by; unique.
            scope: Whose spending it counts.
            scope_id: Which user, key, agent, workflow or execution; each one on its own where absent.
            subject: Which role, model, provider or tag; each one on its own where absent.
            model: Only calls of this model, by its catalogue name.
            unit: What it counts in.
            period: Over what it counts before it begins anew.
            hours: How many hours a rolling period has: 1 to 8,784.
            time_zone: The time zone of a calendar's period, `Europe/Berlin`; UTC where absent.
            limit: The limit: decimal USD, tokens or requests; 0 blocks, absent is without limit.
            hard: Hard refuses before the call is sent; soft only raises an alert.
            thresholds: Percent of the limit at which one alert is raised; 80 and 100 where absent.
            on_exceed: What becomes of a call that it has no room for.
            downgrade_to: The cheaper model that is asked instead, where `on_exceed` is `downgrade`; the agent's next
        fallback where absent.
            on_unpriced: What becomes of a call whose price is unknown.
            burn_rate: An alert where an hour books more than so many times the median of the day before it.
            projection: An alert where the window, going on like this, passes its limit before it ends."""
    async def aput(
        self,
        name: str,
        scope: Literal["user", "role", "key", "model", "provider", "agent", "workflow", "execution", "tag", "all"],
        *,
        scope_id: int | None = None,
        subject: str | None = None,
        model: str | None = None,
        unit: Literal["usd", "tokens", "requests"] | None = None,
        period: Literal["none", "execution", "rolling", "hour", "day", "week", "month", "year"] | None = None,
        hours: int | None = None,
        time_zone: str | None = None,
        limit: str | float | None = None,
        hard: bool | None = None,
        thresholds: Sequence[int] | None = None,
        on_exceed: Literal["deny", "downgrade", "ask"] | None = None,
        downgrade_to: str | None = None,
        on_unpriced: Literal["refuse", "record"] | None = None,
        burn_rate: int | None = None,
        projection: bool | None = None,
    ) -> Budget:
        """``budgets.put``: A budget to put: a limit of money, tokens or requests for a scope.

        Args:
            name: The name it is put by; unique.
            scope: Whose spending it counts.
            scope_id: Which user, key, agent, workflow or execution; each one on its own where absent.
            subject: Which role, model, provider or tag; each one on its own where absent.
            model: Only calls of this model, by its catalogue name.
            unit: What it counts in.
            period: Over what it counts before it begins anew.
            hours: How many hours a rolling period has: 1 to 8,784.
            time_zone: The time zone of a calendar's period, `Europe/Berlin`; UTC where absent.
            limit: The limit: decimal USD, tokens or requests; 0 blocks, absent is without limit.
            hard: Hard refuses before the call is sent; soft only raises an alert.
            thresholds: Percent of the limit at which one alert is raised; 80 and 100 where absent.
            on_exceed: What becomes of a call that it has no room for.
            downgrade_to: The cheaper model that is asked instead, where `on_exceed` is `downgrade`; the agent's next
        fallback where absent.
            on_unpriced: What becomes of a call whose price is unknown.
            burn_rate: An alert where an hour books more than so many times the median of the day before it.
            projection: An alert where the window, going on like this, passes its limit before it ends."""

    def get(
        self,
        id: int,
    ) -> Budget:
        """``budgets.get``: One budget.

        Args:
            id: The budget's id."""
    async def aget(
        self,
        id: int,
    ) -> Budget:
        """``budgets.get``: One budget.

        Args:
            id: The budget's id."""

    def find(
        self,
        name: str,
    ) -> Budget:
        """``budgets.find``: A budget by its name.

        Args:
            name: The budget's name."""
    async def afind(
        self,
        name: str,
    ) -> Budget:
        """``budgets.find``: A budget by its name.

        Args:
            name: The budget's name."""

    def verify(
        self,
    ) -> None:
        """``budgets.verify``: Nothing."""
    async def averify(
        self,
    ) -> None:
        """``budgets.verify``: Nothing."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Budget]:
        """``budgets.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Budget]:
        """``budgets.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def update(
        self,
        id: int,
        patch: Mapping[str, Any],
    ) -> Budget:
        """``budgets.update``: A change to a budget.

        Args:
            id: The budget's id.
            patch: A JSON merge patch of its fields."""
    async def aupdate(
        self,
        id: int,
        patch: Mapping[str, Any],
    ) -> Budget:
        """``budgets.update``: A change to a budget.

        Args:
            id: The budget's id.
            patch: A JSON merge patch of its fields."""

    def delete(
        self,
        id: int,
    ) -> None:
        """``budgets.delete``: One budget.

        Args:
            id: The budget's id."""
    async def adelete(
        self,
        id: int,
    ) -> None:
        """``budgets.delete``: One budget.

        Args:
            id: The budget's id."""

    def windows(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[BudgetWindow]:
        """``budgets.windows``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""
    async def awindows(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[BudgetWindow]:
        """``budgets.windows``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""

    def revisions(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[BudgetRevision]:
        """``budgets.revisions``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""
    async def arevisions(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[BudgetRevision]:
        """``budgets.revisions``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""

    def reset(
        self,
        id: int,
    ) -> Budget:
        """``budgets.reset``: One budget.

        Args:
            id: The budget's id."""
    async def areset(
        self,
        id: int,
    ) -> Budget:
        """``budgets.reset``: One budget.

        Args:
            id: The budget's id."""

    def seal(
        self,
        id: int,
        before: datetime | int,
    ) -> Budget:
        """``budgets.seal``: Windows to seal.

        Args:
            id: The budget's id.
            before: Those that begin before this moment."""
    async def aseal(
        self,
        id: int,
        before: datetime | int,
    ) -> Budget:
        """``budgets.seal``: Windows to seal.

        Args:
            id: The budget's id.
            before: Those that begin before this moment."""

    def raise_(
        self,
        id: int,
        amount: str | float,
        *,
        from_: datetime | int | None = None,
        until: datetime | int,
        reason: str,
    ) -> BudgetRaise:
        """``budgets.raise``: More room for a while.

        Args:
            id: The budget's id.
            amount: By how much, in the budget's unit.
            from_: From this moment on; now where absent.
            until: Until this moment.
            reason: Why."""
    async def araise(
        self,
        id: int,
        amount: str | float,
        *,
        from_: datetime | int | None = None,
        until: datetime | int,
        reason: str,
    ) -> BudgetRaise:
        """``budgets.raise``: More room for a while.

        Args:
            id: The budget's id.
            amount: By how much, in the budget's unit.
            from_: From this moment on; now where absent.
            until: Until this moment.
            reason: Why."""

    def raises(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[BudgetRaise]:
        """``budgets.raises``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""
    async def araises(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[BudgetRaise]:
        """``budgets.raises``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""

    def end_raises(
        self,
        id: int,
    ) -> None:
        """``budgets.end_raises``: One budget.

        Args:
            id: The budget's id."""
    async def aend_raises(
        self,
        id: int,
    ) -> None:
        """``budgets.end_raises``: One budget.

        Args:
            id: The budget's id."""

    def put_tags(
        self,
        scope: Literal["user", "role", "key", "model", "provider", "agent", "workflow", "execution", "tag", "all"],
        *,
        scope_id: int | None = None,
        subject: str | None = None,
        tags: Mapping[str, Any] | None = None,
        required: Sequence[str] | None = None,
    ) -> None:
        """``budgets.put_tags``: The tags that all executions of somebody carry, whatever they say, and those they must have.

        Where several hold, the more special one wins: that of the key, the user, the role, of all.

        Args:
            scope: Whose: `user`, `role`, `key` or `all`.
            scope_id: Which user or key.
            subject: Which role.
            tags: The tags they carry; what a caller gives for one of them is ignored.
            required: The tags that a caller must give, where no policy does."""
    async def aput_tags(
        self,
        scope: Literal["user", "role", "key", "model", "provider", "agent", "workflow", "execution", "tag", "all"],
        *,
        scope_id: int | None = None,
        subject: str | None = None,
        tags: Mapping[str, Any] | None = None,
        required: Sequence[str] | None = None,
    ) -> None:
        """``budgets.put_tags``: The tags that all executions of somebody carry, whatever they say, and those they must have.

        Where several hold, the more special one wins: that of the key, the user, the role, of all.

        Args:
            scope: Whose: `user`, `role`, `key` or `all`.
            scope_id: Which user or key.
            subject: Which role.
            tags: The tags they carry; what a caller gives for one of them is ignored.
            required: The tags that a caller must give, where no policy does."""

    def delete_tags(
        self,
        scope: Literal["user", "role", "key", "model", "provider", "agent", "workflow", "execution", "tag", "all"],
        *,
        scope_id: int | None = None,
        subject: str | None = None,
    ) -> None:
        """``budgets.delete_tags``: Whose policy of tags.

        Args:
            scope: `user`, `role`, `key` or `all`.
            scope_id: Which user or key.
            subject: Which role."""
    async def adelete_tags(
        self,
        scope: Literal["user", "role", "key", "model", "provider", "agent", "workflow", "execution", "tag", "all"],
        *,
        scope_id: int | None = None,
        subject: str | None = None,
    ) -> None:
        """``budgets.delete_tags``: Whose policy of tags.

        Args:
            scope: `user`, `role`, `key` or `all`.
            scope_id: Which user or key.
            subject: Which role."""

    def list_tags(
        self,
    ) -> builtins.list[TagPolicy]:
        """``budgets.list_tags``: Nothing."""
    async def alist_tags(
        self,
    ) -> builtins.list[TagPolicy]:
        """``budgets.list_tags``: Nothing."""


class Costs(Noun):
    """The costs of the engine."""

    def summary(
        self,
        *,
        user_id: int | None = None,
        root_id: int | None = None,
        execution_id: int | None = None,
        from_: datetime | int | None = None,
        to: datetime | int | None = None,
    ) -> CostSummary:
        """``costs.summary``: Which costs are meant: all that meet every field that is given.

        Args:
            user_id: One user's.
            root_id: One root execution's with all its children.
            execution_id: One execution's alone, without its children.
            from_: Booked at this moment or later.
            to: Booked before this moment."""
    async def asummary(
        self,
        *,
        user_id: int | None = None,
        root_id: int | None = None,
        execution_id: int | None = None,
        from_: datetime | int | None = None,
        to: datetime | int | None = None,
    ) -> CostSummary:
        """``costs.summary``: Which costs are meant: all that meet every field that is given.

        Args:
            user_id: One user's.
            root_id: One root execution's with all its children.
            execution_id: One execution's alone, without its children.
            from_: Booked at this moment or later.
            to: Booked before this moment."""

    def list(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        page: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[LedgerEntry]:
        """``costs.list``: A page of costs.

        Args:
            filter: Which ones; all that the caller may see where absent.
            page: Which part of the list.
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        page: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[LedgerEntry]:
        """``costs.list``: A page of costs.

        Args:
            filter: Which ones; all that the caller may see where absent.
            page: Which part of the list.
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def adjust(
        self,
        reservation_id: int,
        reason: str,
        *,
        amount: Decimal | str | float | None = None,
        tokens: int | None = None,
    ) -> LedgerEntry:
        """``costs.adjust``: A correction of what a call was booked at, by somebody who manages budgets.

        Args:
            reservation_id: The reservation of the call, as its ledger entries name it.
            amount: By how much, decimal USD: what an adjustment adds (it may be negative), what a refund gives back.
            tokens: Tokens that were used beyond what was reported; of an adjustment only.
            reason: Why."""
    async def aadjust(
        self,
        reservation_id: int,
        reason: str,
        *,
        amount: Decimal | str | float | None = None,
        tokens: int | None = None,
    ) -> LedgerEntry:
        """``costs.adjust``: A correction of what a call was booked at, by somebody who manages budgets.

        Args:
            reservation_id: The reservation of the call, as its ledger entries name it.
            amount: By how much, decimal USD: what an adjustment adds (it may be negative), what a refund gives back.
            tokens: Tokens that were used beyond what was reported; of an adjustment only.
            reason: Why."""

    def rerate(
        self,
        reason: str,
        *,
        version: int | None = None,
        from_: datetime | int | None = None,
        to: datetime | int | None = None,
        model: str | None = None,
        provider: str | None = None,
        user_id: int | None = None,
        dry_run: bool | None = None,
    ) -> Rerated:
        """``costs.rerate``: Calls to rate anew by a version of prices: all that meet every field that is given.

        Args:
            version: By which version of prices; the one in force now where absent.
            from_: Reserved at this moment or later.
            to: Reserved before this moment.
            model: One model's, by its catalogue name.
            provider: One provider's.
            user_id: One user's.
            dry_run: Whether only to say what would change.
            reason: Why."""
    async def arerate(
        self,
        reason: str,
        *,
        version: int | None = None,
        from_: datetime | int | None = None,
        to: datetime | int | None = None,
        model: str | None = None,
        provider: str | None = None,
        user_id: int | None = None,
        dry_run: bool | None = None,
    ) -> Rerated:
        """``costs.rerate``: Calls to rate anew by a version of prices: all that meet every field that is given.

        Args:
            version: By which version of prices; the one in force now where absent.
            from_: Reserved at this moment or later.
            to: Reserved before this moment.
            model: One model's, by its catalogue name.
            provider: One provider's.
            user_id: One user's.
            dry_run: Whether only to say what would change.
            reason: Why."""

    def refund(
        self,
        reservation_id: int,
        reason: str,
        *,
        amount: Decimal | str | float | None = None,
        tokens: int | None = None,
    ) -> LedgerEntry:
        """``costs.refund``: A correction of what a call was booked at, by somebody who manages budgets.

        Args:
            reservation_id: The reservation of the call, as its ledger entries name it.
            amount: By how much, decimal USD: what an adjustment adds (it may be negative), what a refund gives back.
            tokens: Tokens that were used beyond what was reported; of an adjustment only.
            reason: Why."""
    async def arefund(
        self,
        reservation_id: int,
        reason: str,
        *,
        amount: Decimal | str | float | None = None,
        tokens: int | None = None,
    ) -> LedgerEntry:
        """``costs.refund``: A correction of what a call was booked at, by somebody who manages budgets.

        Args:
            reservation_id: The reservation of the call, as its ledger entries name it.
            amount: By how much, decimal USD: what an adjustment adds (it may be negative), what a refund gives back.
            tokens: Tokens that were used beyond what was reported; of an adjustment only.
            reason: Why."""


class Usage(Noun):
    """The usage of the engine."""

    def query(
        self,
        *,
        by: Sequence[Literal['user', 'role', 'key', 'model', 'provider', 'agent', 'workflow', 'prompt', 'tags'] | str] | None = None,
        every: Literal["hour", "day", "week", "month"] | None = None,
        time_zone: str | None = None,
        from_: datetime | int | None = None,
        to: datetime | int | None = None,
        user_id: int | None = None,
        role: str | None = None,
        key_id: int | None = None,
        model: str | None = None,
        provider: str | None = None,
        agent_id: int | None = None,
        workflow_id: int | None = None,
        prompt: str | None = None,
        tag: str | None = None,
    ) -> UsageReport:
        """``usage.query``: A question about usage: over which calls, told apart by what.

        Args:
            by: What rows are told apart by.
            every: How long a row's span of time is; all of it where absent.
            time_zone: Whose hours, days, weeks and months are, `Europe/Berlin`; UTC where absent.
            from_: From the quarter of an hour of this moment on.
            to: Until the end of the quarter of an hour that this moment is in; one that begins a quarter is not in it.
            user_id: One user's.
            role: Of those with a role.
            key_id: By one API key.
            model: One model's, by its catalogue name.
            provider: One provider's.
            agent_id: One agent's.
            workflow_id: One workflow's.
            prompt: One prompt version's, `name@version`.
            tag: What carries a tag, `team=blue`."""
    async def aquery(
        self,
        *,
        by: Sequence[Literal['user', 'role', 'key', 'model', 'provider', 'agent', 'workflow', 'prompt', 'tags'] | str] | None = None,
        every: Literal["hour", "day", "week", "month"] | None = None,
        time_zone: str | None = None,
        from_: datetime | int | None = None,
        to: datetime | int | None = None,
        user_id: int | None = None,
        role: str | None = None,
        key_id: int | None = None,
        model: str | None = None,
        provider: str | None = None,
        agent_id: int | None = None,
        workflow_id: int | None = None,
        prompt: str | None = None,
        tag: str | None = None,
    ) -> UsageReport:
        """``usage.query``: A question about usage: over which calls, told apart by what.

        Args:
            by: What rows are told apart by.
            every: How long a row's span of time is; all of it where absent.
            time_zone: Whose hours, days, weeks and months are, `Europe/Berlin`; UTC where absent.
            from_: From the quarter of an hour of this moment on.
            to: Until the end of the quarter of an hour that this moment is in; one that begins a quarter is not in it.
            user_id: One user's.
            role: Of those with a role.
            key_id: By one API key.
            model: One model's, by its catalogue name.
            provider: One provider's.
            agent_id: One agent's.
            workflow_id: One workflow's.
            prompt: One prompt version's, `name@version`.
            tag: What carries a tag, `team=blue`."""

    def export(
        self,
        *,
        query: Mapping[str, Any] | None = None,
        format: Literal["csv", "jsonl"] | None = None,
    ) -> str:
        """``usage.export``: An export of usage.

        Args:
            query: Which usage; all that the caller may see where absent.
            format: In which form."""
    async def aexport(
        self,
        *,
        query: Mapping[str, Any] | None = None,
        format: Literal["csv", "jsonl"] | None = None,
    ) -> str:
        """``usage.export``: An export of usage.

        Args:
            query: Which usage; all that the caller may see where absent.
            format: In which form."""


class Prices(Noun):
    """The prices of the engine."""

    def import_(
        self,
        prices: str | Mapping[str, Any],
        *,
        source: str | None = None,
        effective_from: datetime | int | None = None,
        leave_out_bad: bool | None = None,
    ) -> ImportedPrices:
        """``prices.import``: A price map to import.

        Args:
            prices: The map: the text of its file, or the object itself.
            source: Where it comes from, for the audit trail.
            effective_from: Since when it is in force; now where absent or past.
            leave_out_bad: Whether rows that hold a number that is none are left out and named; else one refuses the whole map."""
    async def aimport(
        self,
        prices: str | Mapping[str, Any],
        *,
        source: str | None = None,
        effective_from: datetime | int | None = None,
        leave_out_bad: bool | None = None,
    ) -> ImportedPrices:
        """``prices.import``: A price map to import.

        Args:
            prices: The map: the text of its file, or the object itself.
            source: Where it comes from, for the audit trail.
            effective_from: Since when it is in force; now where absent or past.
            leave_out_bad: Whether rows that hold a number that is none are left out and named; else one refuses the whole map."""

    def versions(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[PriceVersion]:
        """``prices.versions``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def aversions(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[PriceVersion]:
        """``prices.versions``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def find(
        self,
        provider: str,
        model_name: str,
        *,
        at: datetime | int | None = None,
    ) -> ListedPrice:
        """``prices.find``: A model whose price is asked for.

        Args:
            provider: Who serves it.
            model_name: The provider's name of it.
            at: At which moment; now where absent."""
    async def afind(
        self,
        provider: str,
        model_name: str,
        *,
        at: datetime | int | None = None,
    ) -> ListedPrice:
        """``prices.find``: A model whose price is asked for.

        Args:
            provider: Who serves it.
            model_name: The provider's name of it.
            at: At which moment; now where absent."""


class Limits(Noun):
    """The limits of the engine."""

    def put(
        self,
        scope: Literal["all", "provider", "model", "user", "key"],
        limits: Mapping[str, Any],
        *,
        scope_id: int | None = None,
        subject: str | None = None,
    ) -> None:
        """``limits.put``: A limit to put: so many calls and tokens a minute, so many calls at once.

        All executions of a process share it; those that have begun keep what held then.

        Args:
            scope: Of whom or of what.
            scope_id: Which user or key; each one on its own where absent.
            subject: Which model or provider; each one on its own where absent.
            limits: How much."""
    async def aput(
        self,
        scope: Literal["all", "provider", "model", "user", "key"],
        limits: Mapping[str, Any],
        *,
        scope_id: int | None = None,
        subject: str | None = None,
    ) -> None:
        """``limits.put``: A limit to put: so many calls and tokens a minute, so many calls at once.

        All executions of a process share it; those that have begun keep what held then.

        Args:
            scope: Of whom or of what.
            scope_id: Which user or key; each one on its own where absent.
            subject: Which model or provider; each one on its own where absent.
            limits: How much."""

    def list(
        self,
    ) -> builtins.list[RateLimit]:
        """``limits.list``: Nothing."""
    async def alist(
        self,
    ) -> builtins.list[RateLimit]:
        """``limits.list``: Nothing."""

    def delete(
        self,
        scope: Literal["all", "provider", "model", "user", "key"],
        limits: Mapping[str, Any],
        *,
        scope_id: int | None = None,
        subject: str | None = None,
    ) -> None:
        """``limits.delete``: A limit to put: so many calls and tokens a minute, so many calls at once.

        All executions of a process share it; those that have begun keep what held then.

        Args:
            scope: Of whom or of what.
            scope_id: Which user or key; each one on its own where absent.
            subject: Which model or provider; each one on its own where absent.
            limits: How much."""
    async def adelete(
        self,
        scope: Literal["all", "provider", "model", "user", "key"],
        limits: Mapping[str, Any],
        *,
        scope_id: int | None = None,
        subject: str | None = None,
    ) -> None:
        """``limits.delete``: A limit to put: so many calls and tokens a minute, so many calls at once.

        All executions of a process share it; those that have begun keep what held then.

        Args:
            scope: Of whom or of what.
            scope_id: Which user or key; each one on its own where absent.
            subject: Which model or provider; each one on its own where absent.
            limits: How much."""


class Alerts(Noun):
    """The alerts of the engine."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Alert]:
        """``alerts.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Alert]:
        """``alerts.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""


class Webhooks(Noun):
    """The webhooks of the engine."""

    def put(
        self,
        name: str,
        url: str,
        *,
        secret: str | None = None,
        events: Sequence[str] | None = None,
        active: bool | None = None,
        allow_local: bool | None = None,
    ) -> Webhook:
        """``webhooks.put``: A webhook to put: an address that is told of events, each message signed.

        Args:
            name: The name it is put by; unique.
            url: Where to; `https://` or `http://`.
            secret: What each message is signed with, write only: 16 to 512 bytes. Absent keeps the one before.
            events: What it is told of: `budget.alert`.
            active: Whether it is told anything.
            allow_local: Whether the address may be inside this machine or its network; needs the right to manage connections."""
    async def aput(
        self,
        name: str,
        url: str,
        *,
        secret: str | None = None,
        events: Sequence[str] | None = None,
        active: bool | None = None,
        allow_local: bool | None = None,
    ) -> Webhook:
        """``webhooks.put``: A webhook to put: an address that is told of events, each message signed.

        Args:
            name: The name it is put by; unique.
            url: Where to; `https://` or `http://`.
            secret: What each message is signed with, write only: 16 to 512 bytes. Absent keeps the one before.
            events: What it is told of: `budget.alert`.
            active: Whether it is told anything.
            allow_local: Whether the address may be inside this machine or its network; needs the right to manage connections."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Webhook]:
        """``webhooks.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Webhook]:
        """``webhooks.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def delete(
        self,
        id: int,
    ) -> None:
        """``webhooks.delete``: One webhook.

        Args:
            id: The webhook's id."""
    async def adelete(
        self,
        id: int,
    ) -> None:
        """``webhooks.delete``: One webhook.

        Args:
            id: The webhook's id."""

    def deliveries(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Delivery]:
        """``webhooks.deliveries``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""
    async def adeliveries(
        self,
        id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Delivery]:
        """``webhooks.deliveries``: A page of one thing's parts.

        Args:
            id: Whose parts.
            limit: At most this many; 100 where absent.
            cursor: Where the page before ended."""

    def retry(
        self,
        id: int,
    ) -> int:
        """``webhooks.retry``: One webhook.

        Args:
            id: The webhook's id."""
    async def aretry(
        self,
        id: int,
    ) -> int:
        """``webhooks.retry``: One webhook.

        Args:
            id: The webhook's id."""

    def deliver(
        self,
    ) -> int:
        """``webhooks.deliver``: Nothing."""
    async def adeliver(
        self,
    ) -> int:
        """``webhooks.deliver``: Nothing."""


class Audit(Noun):
    """The audit of the engine."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[AuditRecord]:
        """``audit.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def alist(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[AuditRecord]:
        """``audit.list``: Which part of a list is wanted.

        Args:
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def verify(
        self,
        *,
        head: str | None = None,
    ) -> AuditCheck:
        """``audit.verify``: A check of the trail.

        Args:
            head: The `head` of an earlier check."""
    async def averify(
        self,
        *,
        head: str | None = None,
    ) -> AuditCheck:
        """``audit.verify``: A check of the trail.

        Args:
            head: The `head` of an earlier check."""

    def export(
        self,
        *,
        format: Literal["jsonl", "csv"] | None = None,
        page: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> AuditExport:
        """``audit.export``: A part of the trail to write out.

        Args:
            format: `jsonl` or `csv`.
            page: Which part: at most 1,000 lines.
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""
    async def aexport(
        self,
        *,
        format: Literal["jsonl", "csv"] | None = None,
        page: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> AuditExport:
        """``audit.export``: A part of the trail to write out.

        Args:
            format: `jsonl` or `csv`.
            page: Which part: at most 1,000 lines.
            limit: At most this many; 1 to 1,000, more is held at 1,000.
            cursor: Where the page before ended: its `next_cursor`."""

    def redact(
        self,
        about: str,
    ) -> AuditRedaction:
        """``audit.redact``: Whose words are redacted.

        Args:
            about: A principal or an object, as lines name it: `user:7`."""
    async def aredact(
        self,
        about: str,
    ) -> AuditRedaction:
        """``audit.redact``: Whose words are redacted.

        Args:
            about: A principal or an object, as lines name it: `user:7`."""

    def prune(
        self,
        before: datetime | int,
    ) -> AuditSegment:
        """``audit.prune``: How far back the trail is kept.

        Args:
            before: Lines from before this time go."""
    async def aprune(
        self,
        before: datetime | int,
    ) -> AuditSegment:
        """``audit.prune``: How far back the trail is kept.

        Args:
            before: Lines from before this time go."""
