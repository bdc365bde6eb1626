"""Inputs that a provider takes before it makes a batch of them: uploaded, named in the ledger, deleted afterwards.

An upload makes no batch and costs nothing, so that it may be repeated. What the create will name is committed before
the create: where its outcome is not known, the batch that names this input is the chunk's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from batchpipe.common.errors import CredentialsError, NoProviderError
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.ledger.events import OpenBatch, batches_with
from batchpipe.providers import NotSentError, Provider, RefusedError, Shipment, UnavailableError
from batchpipe.sql.quoting import quote_list
from batchpipe.store.queries import query

UPLOAD_SECONDS = 600.0
UPLOADS_AT_ONCE = 4
TOO_MANY_REQUESTS = 429
FAILURES: tuple[type[NotSentError | UnavailableError | RefusedError], ...] = (
    NotSentError,
    UnavailableError,
    RefusedError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Holds what is sent of one chunk."""

    body: bytes
    provider: Provider
    shipment: Shipment


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """Holds the ids of the inputs by chunk, and what went wrong with the others: of these no batch is made."""

    inputs: Mapping[str, str]
    failed: Mapping[str, NotSentError | RefusedError]


def upload_inputs(parts: RunParts, posts: Mapping[str, Post]) -> Uploaded:
    """Upload the bodies of chunks, side by side, where the protocol has such a step."""
    uploaded = {chunk_id: each for chunk_id, each in posts.items() if each.provider.limits.create == "label"}
    if not uploaded:
        return Uploaded(inputs={}, failed={})
    calls = [
        partial(each.provider.upload, each.body, each.shipment, timeout_seconds=UPLOAD_SECONDS)
        for each in uploaded.values()
    ]
    answers = zip(uploaded, parts.pool(calls, UPLOADS_AT_ONCE, FAILURES), strict=True)
    inputs: dict[str, str] = {}
    failed: dict[str, NotSentError | RefusedError] = {}
    for chunk_id, answer in answers:
        if isinstance(answer, str):
            inputs[chunk_id] = answer
        elif isinstance(answer, UnavailableError):
            failed[chunk_id] = not_made(answer)
        elif isinstance(answer, NotSentError | RefusedError):
            failed[chunk_id] = _of_file(answer)
    return Uploaded(inputs=inputs, failed=failed)


def _of_file(error: NotSentError | RefusedError) -> NotSentError | RefusedError:
    """Return an upload's error as one of its file: lines are looked at after the create, so that no row is at fault."""
    if isinstance(error, RefusedError) and error.kind == "invalid":
        return RefusedError(error.message, status=error.status, kind="foreign", answered_at=error.answered_at)
    return error


def not_made(error: UnavailableError) -> NotSentError | RefusedError:
    """Return what a failed upload means for the submit: the provider asks to wait, or nothing was made."""
    if error.status == TOO_MANY_REQUESTS:
        wait = error.retry_after_seconds
        return RefusedError(str(error), status=error.status, kind="rate_limit", retry_after_seconds=wait)
    return NotSentError(str(error))


def discard_inputs(parts: RunParts, looked_at: Sequence[OpenBatch]) -> int:
    """Delete the uploaded inputs of chunks that are closed. What cannot be deleted now is left to a later look.

    Return how many.

    `looked_at` are the chunks that were open: where no protocol of theirs has uploads, nothing is looked up.
    Reads `ledger.events`, `ledger.batches`. Writes `ledger.events`.
    """
    if all(parts.providers.known_of(each).rules.limits.create == "blind" for each in looked_at):
        return 0
    with parts.reading() as session:
        left = batches_with(session, query("inputs_left", pipelines=quote_list(parts.resolved.names)))
    gone: list[tuple[str, str]] = []
    for batch, row in left:
        chunk_id, input_id = batch.chunk_id, row["input_id"]
        with suppress(NotSentError, UnavailableError, NoProviderError, CredentialsError):
            try:
                parts.providers.of(batch).discard(input_id)
            except RefusedError as error:
                if error.kind != "not_found":
                    continue
            gone.append((chunk_id, input_id))
    if gone:
        with parts.writing() as session:
            for chunk_id, input_id in gone:
                parts.add_event(session, "input_discarded", {"input_id": input_id}, chunk_id=chunk_id)
    return len(gone)
