"""The results of a batch that has ended: downloaded into the raw folder, and what is noted of the end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from batchpipe.common import modes
from batchpipe.common.durable import flush_folder
from batchpipe.engine.ledger.events import OpenBatch
from batchpipe.engine.ledger.raw_folder import RawFolder, saving
from batchpipe.providers import BatchState, Ended, OutcomeKind, Provider, UnavailableError, WithoutLine


class NoLine(NamedTuple):
    """Says what a request without a line in the results counts as."""

    outcome: OutcomeKind | WithoutLine | Literal["gone"]
    billed: bool
    cost_known: bool
    error_message: str | None = None


WITHOUT_LINE: Mapping[WithoutLine, NoLine] = {
    "missing": NoLine("missing", billed=True, cost_known=False),
    "canceled": NoLine("canceled", billed=False, cost_known=True),
    "expired": NoLine("expired", billed=False, cost_known=True),
    "unanswered": NoLine("gone", True, False, "the realtime call got no answer"),
    "not_taken": NoLine("transient", False, True, "the provider did not take the request up"),
}


class ShortResultsError(UnavailableError):
    """The results have lines for fewer answers than the batch has by its own counts."""


def download_results(
    batch: OpenBatch, state: BatchState, provider: Provider, folder: RawFolder, *, waited: bool = False
) -> None:
    """Download the raw results of `batch` into `folder`, in the place of what is kept.

    A batch that ended without results has an empty file. `waited` says that whole results were waited for long enough:
    then what is there of them is taken.
    Raises what the provider's `collect` raises, DatabaseError where the disk fails.
    """
    assert batch.batch_id is not None
    path = folder.download(batch.chunk_id)
    with saving(path):
        if state.ended is not None and not state.ended.has_results and not state.archived:
            with open(path, "wb", opener=modes.opener):
                pass
            flush_folder(path.parent)
        else:
            provider.collect(batch.batch_id, path, what_is_there=waited)


def can_be_saved(state: BatchState) -> bool:
    """Return whether a batch has ended with results that can be downloaded, or with none and without a refusal."""
    return state.ended is not None and state.ended.refused is None and not state.archived


def ended_at(state: BatchState) -> datetime | None:
    """Return when a batch ended, as the provider says; None where it does not, or where the batch is under way."""
    return state.ended.at if state.ended is not None else None


def without_line(state: BatchState) -> WithoutLine:
    """Return what a request is that has no line in the results of this batch."""
    return state.ended.without_line if state.ended is not None else "missing"


def ended_batch_data(state: BatchState) -> dict[str, Any]:
    """Return the data of the event that the results of a batch are kept."""
    data = {"counts": state.counts, "ended_at": ended_at(state), "batch_id": state.batch_id or None}
    return data if without_line(state) == "missing" else data | {"without_line": without_line(state)}


def noted_end(data: Mapping[str, Any]) -> Ended:
    """Return how a batch ended, from the data that `ended_batch_data` made of it."""
    word, at = data.get("without_line", "missing"), data.get("ended_at")
    known: WithoutLine = next((each for each in WITHOUT_LINE if each == word), "missing")
    return Ended(at=datetime.fromisoformat(at) if at else None, without_line=known)
