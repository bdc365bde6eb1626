"""Batches as the provider's JSON describes them, with their label and how they ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from batchpipe.providers import BatchState, Ended, WithoutLine
from batchpipe.providers.openai.failures import late_refusal
from batchpipe.providers.shared import values
from batchpipe.providers.shared.http import NotUnderstoodError, batch_reader

# The key of a batch's metadata that holds our label.
LABEL = "batchpipe"
# For so long after its end a batch whose counts speak of answers that it does not name is taken to be under way.
FILES_LATE = timedelta(hours=24)
_OPEN = ("validating", "in_progress", "finalizing", "cancelling")
_ENDS: Mapping[str, WithoutLine] = {
    "completed": "missing",
    "failed": "not_taken",
    "expired": "expired",
    "cancelled": "canceled",
}
_EARLIEST, _LATEST = 1_577_836_800, 4_102_444_800  # 2020 to 2100, in seconds since 1970


def account(headers: Mapping[str, str]) -> values.AccountWords:
    """Return the account that a reply names, and when it was made by the provider's clock."""
    return {
        "organization": values.header(headers, "openai-organization"),
        "workspace": values.header(headers, "openai-project"),
        "answered_at": values.http_date(headers.get("date")),
    }


def file_id(value: Any) -> str | None:
    """Return the id of a file; None for anything else, the empty text among it."""
    return values.batch_id(value)


@batch_reader
def batch_state(batch: Any, headers: Mapping[str, str]) -> BatchState:
    """Return the batch that the API describes. Raises NotUnderstoodError for a value without the id of a batch."""
    found = values.batch_id(batch.get("id")) if isinstance(batch, dict) else None
    if found is None:
        raise NotUnderstoodError("the answer is no batch with an id")
    total, counts = _counts(batch)
    state = batch.get("status")
    known = isinstance(state, str) and (state in _OPEN or state in _ENDS)
    metadata = batch.get("metadata")
    label = metadata.get(LABEL) if isinstance(metadata, dict) else None
    model = batch.get("model")
    return BatchState(
        batch_id=found,
        ended=_ended(batch, counts, headers),
        total=total,
        counts=counts,
        created_at=unix_moment(batch.get("created_at")),
        expires_at=unix_moment(batch.get("expires_at")),
        archived=False,
        unknown_state=None if known else values.state_word(state),
        request_id=values.header_words(headers, "x-request-id"),
        label=values.plain(label, 100) if isinstance(label, str) else None,
        input_id=file_id(batch.get("input_file_id")),
        model=values.plain(model, 100) if isinstance(model, str) and model else None,
        **account(headers),
    )


def unix_moment(value: Any) -> datetime | None:
    """Return a time in seconds since 1970 as naive UTC; None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not _EARLIEST <= value < _LATEST:
        return None
    return datetime.fromtimestamp(value, UTC).replace(tzinfo=None)


def _counts(batch: Mapping[str, Any]) -> tuple[int | None, dict[str, int]]:
    """Return the number of requests, None while it is not known, and the counts that are numbers.

    While a batch is validated its counts are 0; after an expiry they need not add up to its requests.
    """
    counts = batch.get("request_counts")
    good, _ = values.counts(counts)
    total = good.get("total", 0)
    if not total:
        return None, {}
    succeeded, errored = good.get("completed", 0), good.get("failed", 0)
    return total, {"processing": max(total - succeeded - errored, 0), "succeeded": succeeded, "errored": errored}


def _ended(batch: Mapping[str, Any], counts: Mapping[str, int], headers: Mapping[str, str]) -> Ended | None:
    """Return how a batch ended; None while it is under way.

    A batch in a state that is not in the protocol has ended if it says when.
    """
    state = batch.get("status")
    state = state if isinstance(state, str) else ""
    times = {name: unix_moment(batch.get(f"{name}_at")) for name in ("completed", "failed", "expired", "cancelled")}
    at = times.get(state)
    if state in _OPEN:
        return None
    if state not in _ENDS:
        at = next((each for each in times.values() if each is not None), None)
        if at is None:
            return None
    output, errors = file_id(batch.get("output_file_id")), file_id(batch.get("error_file_id"))
    has_results = output is not None or errors is not None
    if state == "failed" and not has_results:
        refused, line = late_refusal(batch.get("errors"))
        return Ended(at=at, has_results=False, without_line="not_taken", refused=refused, line=line)
    # Requests that failed cost nothing, and some servers have no file for them; answers that are missing were paid for.
    late = counts.get("succeeded", 0) > 0 and output is None
    now = values.http_date(headers.get("date")) or datetime.now(UTC).replace(tzinfo=None)
    if late and at is not None and now < at + FILES_LATE:
        return None
    without_line = _ENDS.get(state, "missing")
    return Ended(at=at, has_results=has_results, without_line="missing" if state == "failed" else without_line)
