"""What a provider is to the rest: pure rules and encoding, six calls, and its own limits and prices.

A provider is one module that has `RULES` and a `provider(...)` factory, and one line in `REGISTRY`.
Input: messages, schemas, bodies of batches. Output: request params, states of batches, saved result files.
It writes no table. The name of a provider appears nowhere else.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

from batchpipe.common.errors import PipelineError
from batchpipe.sql.quoting import Sql

if TYPE_CHECKING:
    import httpx2

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
    "account",  # credit, spend limit or permission: a person has to act
    "unfinished",  # the model paused: a valid answer counts, anything else is not understood
    "unknown",  # a type or shape that is not in the protocol
]


CacheTtl = Literal["5m", "1h"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The provider's limits on one batch. `results_seconds`: how long it keeps the results, from `created_at`."""

    max_requests: int
    max_bytes: int
    results_seconds: int


class Message(NamedTuple):
    """A rendered request as the model sees it, without the model and its settings.

    `feedback` is what the model is told on a retry after an invalid answer; it is no part of the fingerprint. The class
    is a tuple because one is made for every row.
    """

    system: str | None
    user: str
    feedback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RungSettings:
    """One rung of the ladder: the model without its provider prefix, `max_tokens`, and the provider's settings."""

    model: str
    max_tokens: int
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleProblem:
    """A mistake in a rung or schema: the `key` of the TOML table, what is wrong, and what to write instead.

    The provider would refuse an "error". A "warning" is printed and stops nothing: the model retires soon, or a setting
    looks wrong.
    """

    key: str
    what: str
    hint: str
    level: Literal["error", "warning"] = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """A batch as the provider reports it. Times are naive UTC, by the provider's clock.

    What the provider leaves out, or gives as no number or time that can be, is None. `answered_at` is when it replied.
    """

    batch_id: str
    ended: bool
    total: int | None
    counts: Mapping[str, int]  # processing, succeeded, errored, canceled, expired
    created_at: datetime | None
    expires_at: datetime | None
    ended_at: datetime | None
    archived: bool
    organization: str | None = None  # response headers, where sent
    workspace: str | None = None
    request_id: str | None = None
    answered_at: datetime | None = None
    unknown_state: str | None = None  # the provider's word for a state that the protocol does not have


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchList:
    """What was read of the provider's list of batches, and the account that the replies named.

    `whole` says that every page was read, and every batch on it understood: only then a batch that is not in `states`
    is not in the list. `answered_at` (naive UTC) is the provider's clock at the first reply.
    """

    states: Sequence[BatchState]
    whole: bool
    organization: str | None = None
    workspace: str | None = None
    answered_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Holds what a provider's replies say of the account of a key, and how far its clock is ahead of ours.

    What they do not say is None.
    """

    organization: str | None = None
    workspace: str | None = None
    clock_offset_seconds: float | None = None


class UnknownOutcomeError(Exception):
    """The outcome of a submit is not known: it may have made a batch.

    Its requests are not sent again before the list of batches was searched.
    """


class NotSentError(Exception):
    """No connection was made (unknown name, refused, TLS error): nothing was sent."""


class RefusedError(Exception):
    """A clear refusal in the provider's own words.

    `status` is the HTTP status; `kind` is what to do: "too_large", "invalid", "rate_limit", "queue_full",
    "account" (credit, spend limit, permission, key), "not_found", "no_batch_endpoint". `retry_after_seconds` (an hour
    at most) is how long the provider asks to wait, `answered_at` (naive UTC) its clock at the reply; None where it said
    neither.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        kind: str,
        retry_after_seconds: float | None = None,
        answered_at: datetime | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds
        self.answered_at = answered_at


class UnavailableError(Exception):
    """A poll, list, cancel or download failed for now (5xx, time-out, reset, 408, 409, 429). It is safe to repeat.

    `retry_after_seconds` (an hour at most) is how long the provider asks to wait, where it does. `status` is the HTTP
    status, where there was a reply.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.status = status


class ProviderRules(Protocol):
    """The pure half of a provider, which needs no credentials, no network and no clock."""

    @property
    def name(self) -> str:
        """The name in `REGISTRY`, in `provider:model` and in the price table."""
        ...

    @property
    def limits(self) -> Limits:
        """The limits on one batch."""
        ...

    def problems(
        self, rung: RungSettings, *, output_format: str, sent_schema: Mapping[str, Any] | None
    ) -> Sequence[RuleProblem]:
        """Return everything in this rung or schema that the provider or the model is known to refuse."""
        ...

    def max_output_tokens(self, model: str) -> int | None:
        """Return the most output tokens that the model can write; None if that is not known."""
        ...

    def context_tokens(self, model: str) -> int | None:
        """Return the most tokens that a request may have together with its answer; None if that is not known."""
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
        """Return an encoder of messages into request params for this rung; it encodes the static parts once.

        `cache` marks the system prompt for the cache. With `head`, a text that user messages begin with, the mark is at
        the end of that text. Make one encoder per thread: it remembers the last system prompt.
        """
        ...

    def unmarked(self, params: bytes) -> bytes:
        """Return encoded `params` without the encoder's mark for the cache, which the model does not see."""
        ...

    def cached_from_tokens(self, model: str) -> int:
        """Return the fewest tokens of a prefix that is cached for `model`."""
        ...

    def visible_schema(self, *, output_format: str, sent_schema: Mapping[str, Any] | None) -> str:
        """Return the text of the schema that the model sees in this format; "" if it sees none."""
        ...

    def price_factor(self, rung: RungSettings) -> Decimal:
        """Return the factor on every token price that the rung's settings cause; 1 unless a setting costs extra."""
        ...

    def batch_headers(self, rung: RungSettings) -> Mapping[str, str]:
        """Return the headers (API version, betas) of a batch of this rung; requests with other headers need another."""
        ...

    def assemble(self, requests: Iterable[tuple[str, bytes]]) -> bytes:
        """Return the body of a batch of requests, each as (custom id, encoded params)."""
        ...

    def lines_sql(self, *, text: bool) -> Sql:
        """Return a SELECT over raw results files (`$paths`, `$maximum_object_size`) that has one row per line.

        Its columns: filename VARCHAR (as in `$paths`), custom_id VARCHAR, outcome VARCHAR (an OutcomeKind), model
        VARCHAR, stop_reason VARCHAR, answer VARCHAR (text, or the tool's input as JSON), error_type VARCHAR,
        error_message VARCHAR, input_tokens BIGINT (uncached), cache_write_5m_tokens, cache_write_1h_tokens,
        cache_read_tokens, output_tokens, thinking_tokens, web_searches BIGINT, service_tier VARCHAR, billed BOOLEAN,
        cost_known BOOLEAN (false where the provider may have billed something that is not understood), oddity VARCHAR
        (what is not understood of the line, in words, else NULL), damaged BOOLEAN (the line is no JSON), raw VARCHAR
        (the line where something is not understood, else NULL), price_factor DECIMAL(9,6) (multiplies every token price
        of the line). A malformed line is a row whose custom_id is NULL. The tokens are NULL if the usage is not that of
        the protocol.

        Without `text` DuckDB gives values their types while it parses, which takes less time. If anything is not
        understood then, the caller writes the files again by `mended_lines`, and reads that with `text`.
        """
        ...

    def mended_lines(self, lines: Iterable[bytes], *, exact_inputs: bool) -> Iterator[bytes]:
        """Yield the lines of a results file as DuckDB can read them with `text`.

        With `exact_inputs` the input of a tool call keeps every digit of its numbers.
        """
        ...


class Provider(ProviderRules, Protocol):
    """A provider bound to a base URL and a key, with its six calls. Several threads may call at once."""

    @property
    def base_url(self) -> str:
        """The URL that all calls go to. With the key's organisation and workspace it names the account of a batch."""
        ...

    @property
    def key_hash(self) -> str:
        """The first 8 hex digits of the key's SHA-256, which name the key without showing it."""
        ...

    def submit(self, body: bytes, *, headers: Mapping[str, str], timeout_seconds: float) -> BatchState:
        """Send the body of a batch, once. Raises RefusedError, NotSentError or UnknownOutcomeError, and no
        other error.
        """
        ...

    def answer(self, custom_id: str, params: bytes, *, headers: Mapping[str, str], timeout_seconds: float) -> bytes:
        """Make one realtime call, sent once. Returns its answer as the line that a results file has for `custom_id`.

        Raises the errors of `poll`, and RefusedError if the request itself is at fault.
        """
        ...

    def poll(self, batch_id: str) -> BatchState:
        """Return the state of a batch. Raises UnavailableError, NotSentError or RefusedError (404: kind
        "not_found").
        """
        ...

    def collect(self, batch_id: str, path: Path) -> None:
        """Download the raw results to `path`, which appears when they are whole and on disk. Raises the errors
        of `poll`.
        """
        ...

    def cancel(self, batch_id: str) -> BatchState:
        """Ask the provider to cancel a batch. Raises the errors of `poll`."""
        ...

    def list_batches(self, enough: Callable[[Sequence[BatchState]], bool]) -> BatchList:
        """Return the batches of the list, page after page, until `enough` holds for those read so far.

        A page that cannot be read after the first one ends the list, which then is not `whole`. Raises the errors of
        `poll`.
        """
        ...

    def account(self) -> BatchList:
        """Return what one call of the list says of the account and the provider's clock. Raises the errors of
        `poll`.
        """
        ...


class Encoder(Protocol):
    """A function from a message to its request params."""

    def __call__(self, message: Message, *, max_tokens: int) -> bytes:
        """Return the request params as JSON."""
        ...


class ProviderModule(Protocol):
    """The names that a provider's module has to hold."""

    RULES: ProviderRules
    KEY_VARIABLE: str  # the environment variable of the key
    KEY_VARIABLES: tuple[str, ...]  # the environment variables that may hold a key: the first that is set counts
    BASE_URL_VARIABLE: str  # the environment variable of the base URL
    DEFAULT_BASE_URL: str  # the provider's own address
    VARIABLES: tuple[str, ...]  # every environment variable that the provider reads

    def provider(
        self,
        credentials: Mapping[str, str],
        *,
        base_url: str | None,
        timeout_seconds: float = 600,
        transport: httpx2.BaseTransport | None = None,
    ) -> Provider:
        """Return the provider with its calls. Raises CredentialsError without a key.

        `credentials` are the values of the provider's own environment variables, by name. `transport` carries the
        HTTP requests; None is the network.
        """
        ...


def get_provider_module(name: str, *, where: str = "provider") -> ProviderModule:
    """Import and return the module of provider `name`; this does not load its SDK.

    Raises PipelineError at `where` for a name that is not registered.
    """
    if name not in REGISTRY:
        near = difflib.get_close_matches(name, REGISTRY, 1, 0.6)
        known = ", ".join(sorted(REGISTRY))
        hint = f"Did you mean `{near[0]}`?" if near else f"Known providers: {known}."
        hint += f" If `{name}:` begins the model's name, write the provider before it: {DEFAULT_PROVIDER}:{name}:..."
        raise PipelineError(f"there is no provider `{name}`", where=where, hint=hint)
    return cast(ProviderModule, importlib.import_module(REGISTRY[name]))
