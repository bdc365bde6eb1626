"""What is recorded of a provider's reply to a submit, and the label by which its batch is found again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from batchpipe.common.errors import DatabaseError, ProviderError
from batchpipe.decide.waits import LOST_IN_A_ROW
from batchpipe.providers import BatchState, RefusedError
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

# A label has the time of the chunk in its first 23 characters, and 6 digits that were drawn by chance in the next 10.
_LEAST_LABEL = 33


def label_of(chunk_id: str) -> str:
    """Return the label that a provider keeps with the batch of a chunk."""
    return f"batchpipe-{chunk_id}"


def is_label_of(chunk_id: str, found: str | None) -> bool:
    """Return whether a label that a provider shows is that of a chunk, if in other case or cut at its end.

    What is left of it has to have some of the characters that were drawn by chance.
    """
    shown = (found or "").strip().lower()
    return len(shown) >= _LEAST_LABEL and label_of(chunk_id).lower().startswith(shown)


def submitted_batch_data(state: BatchState) -> dict[str, Any]:
    """Return the data of the event that a batch is known by its id."""
    return {
        "batch_id": state.batch_id,
        "created_at": state.created_at,
        "expires_at": state.expires_at,
        "organization": state.organization,
        "workspace": state.workspace,
        "request_id": state.request_id,
    }


def refusal_data(error: RefusedError) -> dict[str, Any]:
    """Return the data of the event that the provider refused a chunk."""
    return {
        "status": error.status,
        "kind": error.kind,
        "message": error.message,
        "retry_after_seconds": error.retry_after_seconds,
    }


def refusal(error: RefusedError, key_hash: str) -> ProviderError:
    """Return the error that stops the run, with the provider's message and the next step."""
    hints = {
        "account": f"Correct the account or the key ({key_hash}), then run the same command again: nothing is lost.",
        "no_batch_endpoint": "This base URL has no batch endpoint: set another `base_url`.",
        "not_found": "Check `base_url` and the workspace of the key.",
        "foreign": "Check `base_url`, and what stands between you and the provider, then run the same command again: "
        "nothing is lost.",
    }
    hint = hints.get(error.kind, "Run the same command again; nothing is lost.")
    return ProviderError(f"the provider refuses ({error.status}): {error.message}", where="provider", hint=hint)


def fail_single(session: Session, chunk_id: str, message: str, run_id: str) -> None:
    """Record that the rows of a chunk of one request failed, with the provider's message.

    Of a row that is asked more than once only that member failed.
    Reads `ledger.requests`. Writes `ledger.decisions`, `ledger.part_decisions`.
    """
    values = {"chunk_id": chunk_id, "error": message, "run_id": run_id, "now": session.now, "seq": session.seq}
    session.execute(query("fail_chunk"), values)
    session.execute(query("fail_parts"), values)


def refused_for_long(since: datetime, message: str) -> ProviderError:
    """Return the error that ends a run which the provider has refused since `since`."""
    return ProviderError(
        f"the provider has asked to wait since {since:%Y-%m-%d %H:%M} UTC: {message}",
        where="provider",
        hint="Ask the provider about the limits of this key. The next run goes on from here.",
    )


def too_late_again(folder: Path) -> DatabaseError:
    """Return the error that ends a run whose intents, in the database in `folder`, are too old when they are sent."""
    return DatabaseError(
        "it takes more than a minute from the record of a batch to its sending, again and again",
        where=str(folder),
        hint="Make `[chunking] max_bytes` smaller, or the disk of the working folder faster: nothing was sent.",
    )


def stop_after_losses(session: Session, names: Sequence[str], message: str) -> None:
    """Raise ProviderError where the submits of the pipeline called `names` have turned out to be lost again and again,
    and the newest one, with this message, is of unknown outcome too.

    Reads `ledger.events`.
    """
    lost = session.one(query("lost_in_a_row", pipelines=quote_list(names)))[0]
    if lost >= LOST_IN_A_ROW:
        raise ProviderError(
            f"the outcome of this submit is not known either ({message}), and the last {lost} of unknown outcome "
            "have made no batch",
            where="provider",
            hint="Check `base_url` and what stands between you and the provider, then run the same command again.",
        )
