"""Events of a run, and what is printed of them: a sentence for people, or a line of JSON for a log store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from batchpipe.common.secrets import redacted

Level = Literal["info", "warning", "error"]

ROW_STATES = ("accepted", "due again", "waiting for other members", "failed", "canceled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a run.

    `rows` counts the rows by their new state (`ROW_STATES`). `detail` is text that the sentence quotes: a message of
    the provider, of an error, or the notice itself.
    """

    kind: str
    level: Level = "info"
    run_id: str | None = None
    batch_id: str | None = None
    requests: int | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    cost_usd: Decimal | None = None
    error_code: str | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", redacted(self.detail))

    def __str__(self) -> str:
        """Return the sentence for people; "" for an event that is only written to a log store."""
        return SENTENCES[self.kind](self)

    def of_run(self, run_id: str) -> Event:
        """Return this event with the id of the run that it belongs to."""
        return replace(self, run_id=run_id or None)


# A function that prints or writes an event.
Tell = Callable[[Event], None]

SENTENCES: Mapping[str, Callable[[Event], str]] = {
    "run_started": lambda event: "",
    "run_ended": lambda event: "",
    "notice": lambda event: event.detail,
    "error": lambda event: event.detail,
    "warning": lambda event: f"warning: {event.detail}" + (f" ({event.batch_id})" if event.batch_id else ""),
    "pilot_approved": lambda event: f"the pilot was approved ({event.detail}); all due rows are submitted now",
    "taken_in": lambda event: event.detail,
    "submitted": lambda event: f"submitted {_requests(event)}",
    "submit_unknown": lambda event: (
        f"submitted {_requests(event)}, but the outcome is unknown ({event.detail}); they are not sent again until it "
        "is known"
    ),
    "budget_awaited": lambda event: event.detail,
    "queue_awaited": lambda event: event.detail,
    "budget_passed": lambda event: event.detail,
    "batch_refused": lambda event: (
        f"the provider refused {event.batch_id} after all, and nothing of it was paid: {event.detail}"
    ),
    "submit_lost": lambda event: "a submit whose outcome was unknown made no batch; its rows are due again",
    "overtaken": lambda event: "somebody else has asked for some of these rows since the plan; planning anew",
    "file_changed": lambda event: (
        "files of some rows have changed since the plan; these rows are not sent now, but by the next run"
    ),
    "storage_freed": lambda event: f"the provider's storage was full: {event.detail}",
    "too_late": lambda event: (
        f"{_requests(event)} not sent: {event.detail}, and somebody else may have asked for them; looking again"
    ),
    "chunk_refused": lambda event: (
        f"the provider refused a batch ({event.detail}); trying a smaller one of {_requests(event)}"
    ),
    "request_refused": lambda event: f"the provider refused a request: {event.detail}",
    "asked_to_wait": lambda event: f"the provider asks to wait: {event.detail}",
    "unavailable": lambda event: f"the provider did not answer ({event.detail}); trying again",
    "unreachable": lambda event: f"the provider cannot be reached ({event.detail}); trying again",
    "asked": lambda event: f"answered in realtime: {_rows(event)}",
    "late": lambda event: (
        f"{event.batch_id} takes longer than 9 of 10 batches of its model; it is canceled, what it has finished is "
        "kept, and the rest is asked in realtime"
    ),
    "calls_lost": lambda event: (
        f"{_requests(event)} got no answer ({event.detail}); each may have been paid for, and is booked"
    ),
    "collected": lambda event: f"collected {event.batch_id}: {_rows(event)}",
    "batch_gone": lambda event: (
        f"the provider no longer has the results of {event.batch_id}"
        + (f" (it keeps them for {event.detail})" if event.detail else "")
        + "; its rows are due again, and what it cost at most is booked"
    ),
    "batch_not_found": lambda event: f"the provider does not find {event.batch_id} at the moment; asking again",
}


def json_line(now: datetime, pipeline: str, event: Event) -> str:
    """Return `event` as a JSON object on one line. `now` is naive UTC; money is a string with all its digits."""
    found: dict[str, Any] = {
        "time": f"{now.isoformat(timespec='milliseconds')}Z",
        "level": event.level,
        "event": event.kind,
        "pipeline": pipeline or None,
        "run_id": event.run_id,
        "batch_id": event.batch_id,
        "requests": event.requests,
        "rows": {name.replace(" ", "_"): number for name, number in event.rows.items()} or None,
        "cost_usd": None if event.cost_usd is None else f"{event.cost_usd:f}",
        "error_code": event.error_code,
        "message": str(event) or event.detail or None,
    }
    return json.dumps({name: value for name, value in found.items() if value is not None})


def _requests(event: Event) -> str:
    number = event.requests or 0
    return f"{number:,} request{'' if number == 1 else 's'}"


def _rows(event: Event) -> str:
    named = [(event.rows.get(word, 0), word) for word in ROW_STATES]
    return ", ".join(f"{count:,} {word}" for count, word in named if count) or "nothing new"
