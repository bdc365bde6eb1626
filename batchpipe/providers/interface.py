"""What a provider can do: the pure half, the calls, the encoder, and the names that its module holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from batchpipe.providers.values import (
    Answer,
    AuthHeader,
    BatchList,
    BatchState,
    Block,
    CacheTtl,
    Limits,
    MediaLimits,
    Message,
    Mode,
    RuleProblem,
    RungSettings,
    SentSchema,
    Shipment,
    Turn,
    UploadedFile,
)
from batchpipe.sql.quoting import Sql

if TYPE_CHECKING:
    import httpx2


class ProviderRules(Protocol):
    """The pure half of a provider, which needs no credentials, no network and no clock."""

    @property
    def name(self) -> str:
        """The name of the protocol in `REGISTRY`, which is that of the built-in provider too."""
        ...

    @property
    def limits(self) -> Limits:
        """The limits on one batch."""
        ...

    def schema(self, full: Mapping[str, Any]) -> SentSchema:
        """Return the form of a full output schema that is sent, and what of the schema the protocol cannot take."""
        ...

    def problems(
        self, rung: RungSettings, *, output_format: str, sent_schema: Mapping[str, Any] | None
    ) -> Sequence[RuleProblem]:
        """Return everything in this rung or schema that the provider or the model is known to refuse."""
        ...

    def max_output_tokens(self, model: str, mode: Mode = "realtime") -> int | None:
        """Return the most output tokens that the model can write in this mode; None if that is not known."""
        ...

    def context_tokens(self, model: str) -> int | None:
        """Return the most tokens of input that the model takes; None if that is not known.

        Where only the sum of a request and its answer is known, it is that.
        """
        ...

    @property
    def media(self) -> MediaLimits:
        """What pictures, documents and files the protocol takes."""
        ...

    def media_tokens(self, rung: RungSettings, block: Block) -> int:
        """Return about how many tokens of input a block is for this rung."""
        ...

    def encoder(
        self,
        rung: RungSettings,
        *,
        output_format: str,
        sent_schema: Mapping[str, Any] | None,
        cache: CacheTtl | None = None,
        head: str = "",
        turns: Sequence[Turn] = (),
    ) -> Encoder:
        """Return an encoder of messages into request params for this rung; it encodes the static parts once.

        `turns` stand before each message. `cache` marks what all requests begin with: the system prompt and the turns,
        and with `head`, a text that user messages begin with, that text too. Make one encoder per thread: it remembers
        the last system prompt.
        """
        ...

    def unmarked(self, params: bytes) -> bytes:
        """Return encoded `params` without the encoder's mark for the cache, which the model does not see."""
        ...

    def naming_uploads(self, params: bytes, names: Mapping[str, str]) -> bytes:
        """Return encoded `params` that name uploads in the place of bytes. `names` are theirs, by SHA-256."""
        ...

    def cached_from_tokens(self, model: str) -> int:
        """Return the fewest tokens of a prefix that is cached for `model`."""
        ...

    def marks_cache(self, model: str) -> bool:
        """Return whether requests for `model` can be marked for the cache; False where it works by itself."""
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
        cache_read_tokens, output_tokens, thinking_tokens, web_searches BIGINT, service_tier VARCHAR (the provider's own
        word), processing VARCHAR (batch, realtime, flex, background or priority; NULL: not said), billed BOOLEAN,
        cost_known BOOLEAN (false where the provider may have billed something that is not understood), reported_usd
        DECIMAL(38,15) (what a gateway says that the request cost, in US dollars, else NULL), oddity VARCHAR
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

    def upload(self, body: bytes, shipment: Shipment, *, timeout_seconds: float) -> str | None:
        """Make the steps before a submit that make no batch, which may be repeated; return the id of what was uploaded.

        None where the protocol has no such step. Raises the errors of `poll`.
        """
        ...

    def upload_file(self, data: bytes, media_type: str, name: str, *, timeout_seconds: float) -> UploadedFile:
        """Upload a file that requests name; `name` is at most 40 of `[a-z0-9-]`, and no other upload has it.

        Raises the errors of `poll`.
        """
        ...

    def has_file(self, file_id: str) -> bool:
        """Return whether an uploaded file is there. Raises the errors of `poll`."""
        ...

    def submit(self, body: bytes, shipment: Shipment, *, input_id: str | None, timeout_seconds: float) -> BatchState:
        """Make a batch, in one try: of `body`, or of what `upload` has named by `input_id`.

        Raises RefusedError, NotSentError or UnknownOutcomeError, and no other error.
        """
        ...

    def discard(self, input_id: str) -> None:
        """Delete what `upload` or `upload_file` has named, where the protocol has such a step.

        Raises the errors of `poll`.
        """
        ...

    def discard_results(self, batch_id: str) -> bool:
        """Delete the result files of a batch; return whether anything was deleted. Raises the errors of `poll`."""
        ...

    def answer(self, custom_id: str, params: bytes, *, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        """Make one realtime call, sent once. Returns its answer as the line that a results file has for `custom_id`.

        Where the answer may be long it is streamed. Raises the errors of `poll`, and RefusedError with a `line` if the
        request itself is at fault. An UnavailableError that is not `turned_away` may have been paid for.
        """
        ...

    def poll(self, batch_id: str) -> BatchState:
        """Return the state of a batch. Raises UnavailableError, NotSentError or RefusedError (404: kind
        "not_found").
        """
        ...

    def collect(self, batch_id: str, path: Path, *, what_is_there: bool = False) -> None:
        """Download the raw results to `path`, which appears when they are whole and on disk. Raises the errors
        of `poll`.

        With `what_is_there` one of several files is enough, where the others were waited for and do not come.
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
    ENDPOINTS: tuple[str, ...]  # the paths that requests may be for, the usual one first; () where there is one
    VARIABLES: tuple[str, ...]  # every environment variable that the provider reads
    PRICED_AS: str  # the provider's name in the price table

    def rules(self, endpoint: str | None = None) -> ProviderRules:
        """Return the rules for requests to `endpoint`; `RULES` are those of the usual endpoint, None."""
        ...

    def provider(
        self,
        credentials: Mapping[str, str],
        *,
        base_url: str | None,
        timeout_seconds: float = 600,
        auth_header: AuthHeader | None = None,
        headers: Mapping[str, str] | None = None,
        endpoint: str | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> Provider:
        """Return the provider with its calls. Raises CredentialsError without a key.

        `credentials` are the values of the provider's own environment variables, by name; a key of a provider's table
        stands under KEY_VARIABLE. `auth_header` is how the key is sent, None as the provider itself takes it. `headers`
        are sent with every call. `endpoint` is the path that requests are for, None the usual one. `transport` carries
        the HTTP requests; None is the network.
        """
        ...
