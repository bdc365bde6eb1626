"""The values that pass between a provider and the rest: limits, messages, states of batches, accounts and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

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
CreateKind = Literal["label", "blind"]
# How a key is sent: as `Authorization: Bearer KEY`, or as a header of that name.
AuthHeader = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key"]
# What a request of an ended batch is that has no line in its results.
WithoutLine = Literal["missing", "canceled", "expired", "not_taken", "unanswered"]
# How requests are asked: many in one batch, or each by a realtime call.
Mode = Literal["batch", "realtime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The provider's limits on one batch, and what it lets a search go by.

    `results_seconds`: how long it keeps the results, from `created_at`. `create` says how a batch whose submit has no
    known outcome is found: by the `label` that the provider keeps with it, or `blind`, by its size and custom ids.
    `max_token_bytes` bounds the bytes that stand for its tokens, where the queue of an account is known. `queued` is
    what the provider's queue counts; `max_batches` how many batches may be open at once, None for any
    number. `results_may_expire` says that a batch may name a shorter time for its results.
    """

    max_requests: int
    max_bytes: int
    results_seconds: int
    create: CreateKind = "blind"
    queued: Literal["requests", "input_tokens"] = "requests"
    max_batches: int | None = None
    max_token_bytes: int | None = None
    results_may_expire: bool = False


BlockKind = Literal["image", "pdf", "file"]


class Block(NamedTuple):
    """A picture, a document or a file in a message. Sizes are 0 where they are not known.

    `type` is its media type, "" for an address whose content is not known. `identity` is the SHA-256 of the bytes, or
    what tells an address from others; `url` is that address, "" for bytes. `name` is the path that the row gave.
    """

    kind: BlockKind
    type: str
    identity: str
    url: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    pages: int = 0
    name: str = ""

    @property
    def is_text(self) -> bool:
        """Return whether the block is a text file."""
        return self.kind == "file" and not self.type.startswith("image/") and self.type != "application/pdf"

    @property
    def shown(self) -> str:
        """Return the block as a person reads it."""
        if self.url:
            return f"{self.kind} {self.url}"
        size = f", {self.width} x {self.height} pixels" if self.width else f", {self.pages} pages" if self.pages else ""
        name = f"{self.name}, " if self.name else ""
        return f"{self.kind} {name}{self.type}, {self.bytes:,} bytes{size}, sha256 {self.identity}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """What a protocol takes: the media types of `images` and the beginnings of those of `files`, and the most bytes of
    one of each; `blocks` is the most in one request. `document_addresses`: a document may be given by its address.
    `uploads` are the beginnings of the types that can be uploaded once and named by many requests, each upload for
    `upload_seconds`.
    """

    images: tuple[str, ...]
    files: tuple[str, ...]
    image_bytes: int
    file_bytes: int
    blocks: int
    document_addresses: bool = True
    uploads: tuple[str, ...] = ()
    upload_seconds: int = 0


class Message(NamedTuple):
    """A rendered request as the model sees it, without the model and its settings.

    `parts` are the texts and blocks of the user message in their order, where it has blocks; `user` then shows them.
    `feedback` is what the model is told on a retry after an invalid answer; it is no part of the fingerprint. The class
    is a tuple because one is made for every row.
    """

    system: str | None
    user: str
    feedback: str | None = None
    parts: tuple[str | Block, ...] = ()


class UploadedFile(NamedTuple):
    """A file that was uploaded: its id, what a request calls it, and when the provider deletes it (naive UTC)."""

    file_id: str
    name: str
    expires_at: datetime | None


class Turn(NamedTuple):
    """An example of the conversation: what a user says, and what the model answers."""

    user: str
    assistant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RungSettings:
    """One rung of the ladder: the model without its provider prefix, `max_tokens`, and the provider's settings.

    `provider` is the name of the configured provider that is asked. A gateway may call a model by a name of its own:
    `model` then is that name in what is sent, and `known_as` the usual one, by which its limits and prices are known.
    `mode` says how its requests are asked. It is no part of what a request is: both modes share answers.
    """

    model: str
    max_tokens: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    provider: str = ""
    known_as: str | None = None
    mode: Mode = "batch"

    @property
    def usual_name(self) -> str:
        """Return the name of the model by which its limits and prices are known."""
        return self.known_as or self.model


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
class SentSchema:
    """The form of an output schema that a protocol takes.

    `problems` are (JSON path, what, hint) for everything that it cannot express. `nulls_are_absent` says that optional
    fields are sent as required ones that may be null: a null then means that the field is absent, which validation
    takes it for wherever the full schema does not allow a null.
    """

    schema: Mapping[str, Any]
    problems: Sequence[tuple[str, str, str]] = ()
    nulls_are_absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """Describes one try to send one chunk: `count` requests of one rung, whose model has the provider's name.

    `label` is the chunk's alone: at most 60 characters of `[a-z0-9-]`. `headers` are those of `batch_headers`.
    `results_seconds` is how long the provider is to keep the results; None: as long as it does by itself.
    """

    label: str
    rung: RungSettings
    count: int
    headers: Mapping[str, str]
    results_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Says how a batch ended. `at` is naive UTC, by the provider's clock; None where it does not say.

    `has_results` says that there is something to download, and `without_line` what a request without a line in it is:
    "not_taken" means that the provider never took it up, so that it cost nothing, "unanswered" that a realtime call was
    made and has no answer. A batch that the provider refused
    only after it had been made has `refused`, as if the submit had been; `line` is the first line of its input that
    the provider names, from 1.
    """

    at: datetime | None
    has_results: bool = True
    without_line: WithoutLine = "missing"
    refused: RefusedError | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """A batch as the provider reports it. Times are naive UTC, by the provider's clock.

    What the provider leaves out, or gives as no number or time that can be, is None. `answered_at` is when it replied.
    `ended` is None while the batch is under way. `counts` are the provider's own, of which nothing is decided. `label`
    and `input_id` are the label and the uploaded input that the provider keeps with the batch, `model` the model that
    it names for the whole batch.
    """

    batch_id: str
    ended: Ended | None
    total: int | None
    counts: Mapping[str, int]  # processing, succeeded, errored, canceled, expired
    created_at: datetime | None
    expires_at: datetime | None
    archived: bool
    organization: str | None = None  # response headers, where sent
    workspace: str | None = None
    request_id: str | None = None
    answered_at: datetime | None = None
    unknown_state: str | None = None  # the provider's word for a state that the protocol does not have
    label: str | None = None
    input_id: str | None = None
    model: str | None = None


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
class RateRoom:
    """Says what a reply to a realtime call says of the provider's limits; None where it says nothing.

    `requests` and `tokens` are left, the fewest of all kinds, until the limits are whole again in `seconds`.
    """

    requests: int | None = None
    tokens: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Holds the answer to a realtime call as the `line` that a results file has for it, with its line break."""

    line: bytes
    room: RateRoom = RateRoom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Holds what a provider's replies say of the account of a key, and how far its clock is ahead of ours.

    What they do not say is None. `no_list` is what came in the place of the list of batches, where that was a reply
    of success which is no list: its address may have no batch endpoint.
    """

    organization: str | None = None
    workspace: str | None = None
    clock_offset_seconds: float | None = None
    no_list: str | None = None


class UnknownOutcomeError(Exception):
    """The outcome of a submit is not known: it may have made a batch.

    Its requests are not sent again before the list of batches was searched.
    """


class NotSentError(Exception):
    """No connection was made (unknown name, refused, TLS error): nothing was sent."""


class RefusedError(Exception):
    """A clear refusal in the provider's own words.

    `status` is the HTTP status; `kind` is what to do: "too_large", "invalid", "rate_limit", "queue_full",
    "account" (credit, spend limit, permission, key), "storage_full", "not_found", "no_batch_endpoint", "foreign" (a
    redirect, or a refusal that is not in the provider's words or about a whole file: no row is at fault).
    `retry_after_seconds` (an hour at most) is how long the provider asks to wait, `answered_at` (naive UTC) its clock
    at the reply; None where it said neither. `line`: of a realtime call that is refused for what it asks, the line that
    a results file has for it.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        kind: str,
        retry_after_seconds: float | None = None,
        answered_at: datetime | None = None,
        line: bytes | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds
        self.answered_at = answered_at
        self.line = line


class UnavailableError(Exception):
    """A poll, list, cancel or download failed for now (5xx, time-out, reset, 408, 409, 429). It is safe to repeat.

    `retry_after_seconds` (an hour at most) is how long the provider asks to wait, where it does. `status` is the HTTP
    status, where there was a reply; `by_provider` says that the reply has the provider's own words, and is not that of
    a proxy.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        status: int | None = None,
        by_provider: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.status = status
        self.by_provider = by_provider

    @property
    def turned_away(self) -> bool:
        """Return whether the reply says that a realtime call was not processed: it costs nothing.

        That is a limit (429), a tier that is full (498), or too much load (529; a 503 only in the provider's own words,
        since a proxy answers so as well after a connection that broke).
        """
        return self.status in (429, 498, 529) or (self.status == 503 and self.by_provider)


class NoListError(UnavailableError):
    """A reply of success came in the place of the list of batches, and is none: a page, an answer, nothing at all."""
