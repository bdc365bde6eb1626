"""Batches as the provider describes them: operations, whose metadata have the state and the names of files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from batchpipe.providers import BatchState, Ended
from batchpipe.providers.gemini.failures import late_refusal
from batchpipe.providers.shared import values
from batchpipe.providers.shared.http import NotUnderstoodError, batch_reader

BATCH = re.compile(r"batches/[A-Za-z0-9_-]{1,190}")
FILE = re.compile(r"files/[A-Za-z0-9_-]{1,190}")
_PREFIX = re.compile(r"^(BATCH|JOB)_STATE_")
_INPUT_GONE = re.compile(r"(?i)\bfiles?\b")
_RUNNING = ("UNSPECIFIED", "QUEUED", "PENDING", "RUNNING", "CANCELLING", "PAUSED", "UPDATING")
_DONE = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
_LONGEST_LABEL = 512
# A batch waits and runs for two days at most.
LIFE = timedelta(hours=48)
# A batch may be said to have succeeded before its results are there. After so long they are believed to be missing.
_RESULTS_LATE = timedelta(hours=24)


def results_file(operation: Any) -> str | None:
    """Return the name of the file with a batch's results; None where there is none."""
    metadata, response = _object(operation, "metadata"), _object(operation, "response")
    for place in (_object(metadata, "output"), response, _object(response, "output")):
        name = place.get("responsesFile")
        if isinstance(name, str) and FILE.fullmatch(name):
            return name
    return None


@batch_reader
def batch_state(operation: Any, headers: Mapping[str, str]) -> BatchState:
    """Return the batch that an operation describes. Raises NotUnderstoodError for one without the name of a batch."""
    name = operation.get("name") if isinstance(operation, dict) else None
    if not isinstance(name, str) or not BATCH.fullmatch(name):
        raise NotUnderstoodError("the answer is no batch with a name")
    metadata = _object(operation, "metadata")
    state = metadata.get("state", "")
    word = values.state_word(_PREFIX.sub("", state) if isinstance(state, str) else state)
    known, total = _counts(metadata.get("batchStats"))
    created_at, answered_at = values.utc_moment(metadata.get("createTime")), values.http_date(headers.get("date"))
    label, file = metadata.get("displayName"), _object(metadata, "inputConfig").get("fileName")
    model = metadata.get("model")
    return BatchState(
        batch_id=name,
        ended=_ended(operation, word, answered_at),
        total=total,
        counts=known,
        created_at=created_at,
        expires_at=created_at + LIFE if created_at is not None else None,
        archived=False,
        answered_at=answered_at,
        unknown_state=word if word and word not in (*_RUNNING, *_DONE) else None,
        label=values.plain(label, _LONGEST_LABEL) if isinstance(label, str) and label else None,
        input_id=file if isinstance(file, str) and FILE.fullmatch(file) else None,
        model=values.plain(model.removeprefix("models/"), 200) if isinstance(model, str) else None,
    )


def _ended(operation: Mapping[str, Any], word: str, answered_at: datetime | None) -> Ended | None:
    """Return how a batch ended; None while it is under way, or while results that it promises are not there yet.

    A batch that succeeded promises results, and so does any other whose counts name an answer. An operation of a state
    that is not in the protocol has ended where it is `done`.
    """
    metadata, error = _object(operation, "metadata"), operation.get("error")
    done = operation.get("done") is True
    has_results = results_file(operation) is not None
    at = values.utc_moment(metadata.get("endTime")) or (values.utc_moment(metadata.get("updateTime")) if done else None)
    known, _ = _counts(metadata.get("batchStats"))
    succeeded = word in ("SUCCEEDED", "PARTIALLY_SUCCEEDED") or (word not in _DONE and done and not error)
    if (succeeded or known.get("succeeded") or known.get("errored")) and not has_results:
        late = at is not None and answered_at is not None and answered_at - at > _RESULTS_LATE
        if not late:
            return None
    if succeeded:
        return Ended(at=at, has_results=has_results)
    if word == "CANCELLED":
        return Ended(at=at, has_results=has_results, without_line="canceled")
    if word == "EXPIRED":
        return Ended(at=at, has_results=has_results, without_line="expired")
    if word == "FAILED" or (done and error):
        return _failed(at, error or metadata.get("error"), has_results=has_results)
    return None


def _failed(at: datetime | None, error: Any, *, has_results: bool) -> Ended:
    """Return how a failed batch ended.

    Its requests were not taken up where its input is at fault, or had gone before the batch began: a file lives for 48
    hours. After an error of the provider they are missing.
    """
    if has_results:
        return Ended(at=at)
    found = late_refusal(error)
    if found is None:
        return Ended(at=at, has_results=False)
    refused, line = found
    if refused.kind == "not_found" and _INPUT_GONE.search(refused.message):
        return Ended(at=at, has_results=False, without_line="not_taken")
    return Ended(at=at, has_results=False, without_line="not_taken", refused=refused, line=line)


def _counts(stats: Any) -> tuple[dict[str, int], int | None]:
    """Return the provider's counts in our words, and the number of all requests; None where it is not known."""
    names = {
        "pendingRequestCount": "processing",
        "successfulRequestCount": "succeeded",
        "failedRequestCount": "errored",
    }
    found = {ours: number for theirs, ours in names.items() if (number := _number(_get(stats, theirs))) is not None}
    return found, _number(_get(stats, "requestCount")) or None


def _number(value: Any) -> int | None:
    """Return a count, which the provider writes as a text; None for anything else."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _object(value: Any, name: str) -> Mapping[str, Any]:
    """Return the member `name` where it is an object, else an empty one."""
    found = _get(value, name)
    return found if isinstance(found, dict) else {}
