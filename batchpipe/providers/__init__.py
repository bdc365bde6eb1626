"""What a provider is to the rest: pure rules and encoding, six calls, and its own limits and prices.

A provider is one module that has `RULES` and a `provider(...)` factory, and one line in `REGISTRY`.
Input: messages, schemas, bodies of batches. Output: request params, states of batches, saved result files.
It writes no table. The name of a provider appears nowhere else.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast

from batchpipe.common.errors import PipelineError

REGISTRY: Mapping[str, str] = {"anthropic": "batchpipe.providers.anthropic"}
DEFAULT_PROVIDER = "anthropic"

OutcomeKind = Literal[
    "answered",  # the model finished: text or tool input is there to validate
    "truncated",  # stopped at max_tokens
    "context_window",  # the context window was exceeded
    "refused",  # the model declined
    "expired",  # the batch ended before the request was processed
    "canceled",  # canceled by us
    "transient",  # the provider's own error; the same request may pass later
    "permanent",  # the request is at fault: invalid_request_error
    "account",  # credit, spend limit or permission: nothing helps but a person
    "unknown",  # a type or shape that is not in the protocol
]


CacheTtl = Literal["5m", "1h"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The provider's limits on one batch."""

    max_requests: int
    max_bytes: int
    lifetime_seconds: int  # then unfinished requests expire
    results_seconds: int  # results are kept this long, from created_at


class Message(NamedTuple):
    """A rendered request as the model sees it, less the model and its settings; a tuple, for one is made for every row.

    `feedback` is the text shown on a retry after an invalid answer; it is no part of the fingerprint.
    """

    system: str | None
    user: str
    feedback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RungSettings:
    """One rung, resolved: the model without its provider prefix, and the provider's settings."""

    model: str
    max_tokens: int
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleProblem:
    """A rung or schema that the provider refuses: the key of the TOML table, what is wrong, what to write.

    A "warning" is printed and never stops anything: a model about to retire, a setting that looks wrong.
    """

    key: str
    what: str
    hint: str
    level: Literal["error", "warning"] = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """A batch as the provider reports it. Times are naive UTC."""

    batch_id: str
    ended: bool
    canceling: bool
    total: int
    counts: Mapping[str, int]  # processing, succeeded, errored, canceled, expired
    created_at: datetime
    expires_at: datetime | None
    ended_at: datetime | None
    archived: bool
    organization: str | None = None  # response headers, where sent
    workspace: str | None = None
    request_id: str | None = None


class UnknownOutcomeError(Exception):
    """A submit whose outcome is not known: it may have made a batch.

    Never sent again before the list was searched.
    """


class NotSentError(Exception):
    """No connection was made (name, refused, TLS): nothing was sent."""


class RefusedError(Exception):
    """A clear refusal in the provider's own words.

    `status` is the HTTP status; `kind` is what to do: "too_large", "invalid", "rate_limit", "queue_full",
    "account" (credit, spend limit, permission, key), "not_found", "no_batch_endpoint"; `retry_after_seconds`
    where it was sent.
    """

    def __init__(self, message: str, *, status: int, kind: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(Exception):
    """A poll, list or download that failed for now (5xx, time-out, reset, 408, 409, 429): safe to repeat."""


class ProviderRules(Protocol):
    """The pure half of a provider: no credentials, no network, no clock."""

    @property
    def name(self) -> str:
        """The name in `REGISTRY`, in `provider:model` and in the price table."""
        ...

    @property
    def limits(self) -> Limits: ...

    def problems(
        self, rung: RungSettings, *, output_format: str, sent_schema: Mapping[str, Any] | None
    ) -> Sequence[RuleProblem]:
        """Everything in this rung or schema that the provider or the model is known to refuse."""
        ...

    def max_output_tokens(self, model: str) -> int | None:
        """The model's cap of `max_tokens`; None where it is not known."""
        ...

    def encoder(
        self,
        rung: RungSettings,
        *,
        output_format: str,
        sent_schema: Mapping[str, Any] | None,
        cache: CacheTtl | None = None,
        head: str = "",
    ) -> Encoder:
        """What turns messages into request params for this rung, with the static parts encoded once.

        `cache` marks the system prompt for caching; with `head`, text that user messages begin with, all up to
        its end. Make one per thread: it remembers the last system prompt.
        """
        ...

    def unmarked(self, params: bytes) -> bytes:
        """Encoded `params` without the mark for caching that the encoder may have set; the same to the model."""
        ...

    def cached_from_tokens(self, model: str) -> int:
        """The shortest prefix that is cached for `model`."""
        ...

    def visible_schema(self, *, output_format: str, sent_schema: Mapping[str, Any] | None) -> str:
        """What the model sees of the schema in this format, as text; "" where it sees none."""
        ...

    def price_factor(self, rung: RungSettings) -> Decimal:
        """What the rung's settings multiply every token price by: 1, unless a setting costs extra."""
        ...

    def batch_headers(self, rung: RungSettings) -> Mapping[str, str]:
        """Headers that a batch of this rung is sent under (API version, betas); batches do not mix them."""
        ...

    def assemble(self, requests: Iterable[tuple[str, bytes]]) -> bytes:
        """The body of a batch from (custom id, encoded params)."""
        ...

    def lines_sql(self, *, text: bool) -> str:
        """A SELECT over raw results files (`$paths`, `$maximum_object_size`), one row per line:

        filename VARCHAR (as in `$paths`), custom_id VARCHAR, outcome VARCHAR (an OutcomeKind), model VARCHAR,
        stop_reason VARCHAR, answer VARCHAR (text, or the tool's input as JSON), error_type VARCHAR, error_message
        VARCHAR, input_tokens BIGINT (uncached), cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens,
        output_tokens, thinking_tokens, web_searches BIGINT, service_tier VARCHAR, billed BOOLEAN, raw VARCHAR (the
        whole line where outcome is 'unknown', else NULL), price_factor DECIMAL(9,6) (multiplies every token price of
        the line). A malformed line is a row whose custom_id and raw are NULL. Input and output tokens are NULL where
        the line has no usage.

        Without `text` lines are typed while they are parsed, which takes less: where one is 'unknown' then, the files
        are to be read again as `text`.
        """
        ...


class Provider(ProviderRules, Protocol):
    """One provider with its six calls, bound to a base URL and a key. Several threads may call at once."""

    @property
    def base_url(self) -> str:
        """Where the calls go; with the key's organisation and workspace, the account of a batch."""
        ...

    @property
    def key_hash(self) -> str:
        """The first 8 hex digits of the key's SHA-256: names a key without showing it."""
        ...

    def submit(self, body: bytes, *, headers: Mapping[str, str], timeout_seconds: float) -> BatchState:
        """POST once. Raises RefusedError, NotSentError or UnknownOutcomeError; nothing else."""
        ...

    def answer(self, custom_id: str, params: bytes, *, headers: Mapping[str, str], timeout_seconds: float) -> bytes:
        """One realtime call, sent once: its message as the line of a results file that `custom_id` would have.

        Raises as `poll`; RefusedError where the request itself is at fault.
        """
        ...

    def poll(self, batch_id: str) -> BatchState:
        """Raises UnavailableError, NotSentError, RefusedError (404 is kind "not_found")."""
        ...

    def collect(self, batch_id: str, path: Path) -> None:
        """Download the raw results to `path` (written whole, flushed and fsynced). Raises as `poll`."""
        ...

    def cancel(self, batch_id: str) -> BatchState:
        """Ask for cancellation. Raises as `poll`."""
        ...

    def recent(self, since: datetime) -> Iterator[BatchState]:
        """Batches created at or after `since`, newest first, over all pages. Raises as `poll`."""
        ...


class Encoder(Protocol):
    def __call__(self, message: Message, *, max_tokens: int) -> bytes:
        """Request params as JSON bytes."""
        ...


class ProviderModule(Protocol):
    """What a provider's module holds."""

    RULES: ProviderRules
    KEY_VARIABLE: str  # the environment variable of the key
    VARIABLES: tuple[str, ...]  # every environment variable that the provider reads

    def provider(
        self, credentials: Mapping[str, str], *, base_url: str | None, timeout_seconds: float = 600
    ) -> Provider:
        """`credentials` are the provider's own variables, by name. Raises CredentialsError without a key."""
        ...


def get_provider_module(name: str, *, where: str = "provider") -> ProviderModule:
    """The module of provider `name`, imported at this moment; no SDK is loaded by it.

    Raises PipelineError at `where` for a name that is not registered.
    """
    if name not in REGISTRY:
        near = difflib.get_close_matches(name, REGISTRY, 1, 0.6)
        known = ", ".join(sorted(REGISTRY))
        hint = f"Did you mean `{near[0]}`?" if near else f"Known providers: {known}."
        raise PipelineError(f"there is no provider `{name}`", where=where, hint=hint)
    return cast(ProviderModule, importlib.import_module(REGISTRY[name]))
