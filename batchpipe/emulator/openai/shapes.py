"""A batch as the API shows it."""

import orjson

from batchpipe.emulator.openai.batches import DAY
from batchpipe.emulator.openai.tables import StoredBatch
from batchpipe.emulator.service.faults import Rules
from batchpipe.emulator.service.jsontypes import JsonObject


def batch_shape(batch: StoredBatch, rules: Rules, now: float) -> JsonObject:
    """Return a batch at a time. While it is validated its counts are 0; its result files may come late."""
    offset = rules.clock_offset_seconds
    validating = batch.ended_at is None and (batch.looks < 1 or now < batch.created_at + rules.validating_seconds)
    status = batch.end_state or ("validating" if validating else "in_progress")
    if batch.ended_at is None and batch.cancel_initiated_at is not None:
        status = "cancelling"
    known = not validating and status != "failed"
    done = {state: _at(batch.ended_at, offset) if batch.end_state == state else None for state in _ENDS}
    late = batch.fault == "output_late" and now < (batch.ended_at or 0) + batch.fault_seconds
    lies = batch.fault == "counts_lie"
    errors = orjson.loads(batch.errors) if batch.errors is not None and status == "failed" else None
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": None if errors is None else {"object": "list", "data": errors},
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": status,
        "output_file_id": None if late else batch.output_file_id,
        "error_file_id": None if late else batch.error_file_id,
        "created_at": _at(batch.created_at, offset),
        "in_progress_at": _at(batch.created_at, offset) if known else None,
        "expires_at": _at(batch.created_at + DAY, offset),
        "finalizing_at": done["completed"],
        **{f"{state}_at": at for state, at in done.items()},
        "cancelling_at": _at(batch.cancel_initiated_at, offset),
        "request_counts": {
            "total": batch.requests if known else 0,
            "completed": batch.failed if lies else batch.completed,
            "failed": batch.completed if lies else batch.failed,
        },
        "metadata": orjson.loads(batch.metadata),
    }


_ENDS = ("completed", "failed", "expired", "cancelled")


def _at(at: float | None, offset: float) -> int | None:
    return None if at is None else int(at + offset)
