# Printed by stubs.py from the engine's method table: `make py-stubs` writes it anew.
import builtins
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from ._session import Session
from ._values import (
    AuditCheck,
    AuditRecord,
    Budget,
    BudgetWindow,
    CostSummary,
    ExecutionRecord,
    ImportedPrices,
    LedgerEntry,
    Outcome,
    Page,
    PromptVersion,
    Record,
    Share,
    Step,
    User,
)

NOUNS: dict[str, str]
DELEGATED: dict[str, str]

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
            settings: What every request of this model carries unless the agent says otherwise.
            price: What its tokens cost; unknown where absent, and then refused under a hard budget.
            max_output_tokens: The most output tokens the model can give; caps every request.
            limits: How much of it all executions of the process together may ask for."""
    async def acreate(
        self,
        name: str,
        provider: str,
        *,
        model_name: str,
        description: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
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
            settings: What every request of this model carries unless the agent says otherwise.
            price: What its tokens cost; unknown where absent, and then refused under a hard budget.
            max_output_tokens: The most output tokens the model can give; caps every request.
            limits: How much of it all executions of the process together may ask for."""

    def put(
        self,
        name: str,
        provider: str,
        *,
        model_name: str,
        description: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
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
            settings: What every request of this model carries unless the agent says otherwise.
            price: What its tokens cost; unknown where absent, and then refused under a hard budget.
            max_output_tokens: The most output tokens the model can give; caps every request.
            limits: How much of it all executions of the process together may ask for."""
    async def aput(
        self,
        name: str,
        provider: str,
        *,
        model_name: str,
        description: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
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
            settings: What every request of this model carries unless the agent says otherwise.
            price: What its tokens cost; unknown where absent, and then refused under a hard budget.
            max_output_tokens: The most output tokens the model can give; caps every request.
            limits: How much of it all executions of the process together may ask for."""

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
            timeout_ms: Time limit of one call in milliseconds; 60,000 where absent."""
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
            timeout_ms: Time limit of one call in milliseconds; 60,000 where absent."""

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
            timeout_ms: Time limit of one call in milliseconds; 60,000 where absent."""
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
            timeout_ms: Time limit of one call in milliseconds; 60,000 where absent."""

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
            model: The catalogue name of its model.
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
            model: The catalogue name of its model.
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
            model: The catalogue name of its model.
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
            model: The catalogue name of its model.
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
    ) -> Page[ExecutionRecord]:
        """``executions.list``: A page of executions.

        Args:
            filter: Which ones.
            page: Which part of the list."""
    async def alist(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        page: Mapping[str, Any] | None = None,
    ) -> Page[ExecutionRecord]:
        """``executions.list``: A page of executions.

        Args:
            filter: Which ones.
            page: Which part of the list."""

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
    ) -> None:
        """``executions.decide``: A decision about a step that waits.

        Args:
            id: The execution's id.
            key: The step, as `waiting_for` names it.
            decision: What becomes of it."""
    async def adecide(
        self,
        id: int,
        key: str,
        *,
        decision: Mapping[str, Any],
    ) -> None:
        """``executions.decide``: A decision about a step that waits.

        Args:
            id: The execution's id.
            key: The step, as `waiting_for` names it.
            decision: What becomes of it."""

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


class Users(Noun):
    """The users of the engine."""

    def create(
        self,
        email: str,
        password: str,
        *,
        name: str | None = None,
        role: Literal["admin", "business_user"] | None = None,
    ) -> User:
        """``users.create``: A user to create.

        Args:
            email: E-mail address; unique without regard to case.
            password: The password, write only: 8 to 1,024 bytes.
            name: For people.
            role: What the user may do."""
    async def acreate(
        self,
        email: str,
        password: str,
        *,
        name: str | None = None,
        role: Literal["admin", "business_user"] | None = None,
    ) -> User:
        """``users.create``: A user to create.

        Args:
            email: E-mail address; unique without regard to case.
            password: The password, write only: 8 to 1,024 bytes.
            name: For people.
            role: What the user may do."""

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


class Budgets(Noun):
    """The budgets of the engine."""

    def create(
        self,
        name: str,
        scope: Literal["user", "execution"],
        *,
        scope_id: int | None = None,
        limit: Decimal | str | float | None = None,
        hard: bool | None = None,
        thresholds: Sequence[int] | None = None,
    ) -> Budget:
        """``budgets.create``: A budget to put: a limit of money for a scope.

        Args:
            name: The name it is put by; unique.
            scope: Whose spending it counts.
            scope_id: Which user or execution; each one on its own where absent.
            limit: The limit, decimal USD; 0 blocks, absent is without limit.
            hard: Hard refuses before the call is sent; soft only raises an alert.
            thresholds: Percent of the limit at which one alert is raised; 80 and 100 where absent."""
    async def acreate(
        self,
        name: str,
        scope: Literal["user", "execution"],
        *,
        scope_id: int | None = None,
        limit: Decimal | str | float | None = None,
        hard: bool | None = None,
        thresholds: Sequence[int] | None = None,
    ) -> Budget:
        """``budgets.create``: A budget to put: a limit of money for a scope.

        Args:
            name: The name it is put by; unique.
            scope: Whose spending it counts.
            scope_id: Which user or execution; each one on its own where absent.
            limit: The limit, decimal USD; 0 blocks, absent is without limit.
            hard: Hard refuses before the call is sent; soft only raises an alert.
            thresholds: Percent of the limit at which one alert is raised; 80 and 100 where absent."""

    def put(
        self,
        name: str,
        scope: Literal["user", "execution"],
        *,
        scope_id: int | None = None,
        limit: Decimal | str | float | None = None,
        hard: bool | None = None,
        thresholds: Sequence[int] | None = None,
    ) -> Budget:
        """``budgets.put``: A budget to put: a limit of money for a scope.

        Args:
            name: The name it is put by; unique.
            scope: Whose spending it counts.
            scope_id: Which user or execution; each one on its own where absent.
            limit: The limit, decimal USD; 0 blocks, absent is without limit.
            hard: Hard refuses before the call is sent; soft only raises an alert.
            thresholds: Percent of the limit at which one alert is raised; 80 and 100 where absent."""
    async def aput(
        self,
        name: str,
        scope: Literal["user", "execution"],
        *,
        scope_id: int | None = None,
        limit: Decimal | str | float | None = None,
        hard: bool | None = None,
        thresholds: Sequence[int] | None = None,
    ) -> Budget:
        """``budgets.put``: A budget to put: a limit of money for a scope.

        Args:
            name: The name it is put by; unique.
            scope: Whose spending it counts.
            scope_id: Which user or execution; each one on its own where absent.
            limit: The limit, decimal USD; 0 blocks, absent is without limit.
            hard: Hard refuses before the call is sent; soft only raises an alert.
            thresholds: Percent of the limit at which one alert is raised; 80 and 100 where absent."""

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
    ) -> Page[LedgerEntry]:
        """``costs.list``: A page of costs.

        Args:
            filter: Which ones; all that the caller may see where absent.
            page: Which part of the list."""
    async def alist(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        page: Mapping[str, Any] | None = None,
    ) -> Page[LedgerEntry]:
        """``costs.list``: A page of costs.

        Args:
            filter: Which ones; all that the caller may see where absent.
            page: Which part of the list."""


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
