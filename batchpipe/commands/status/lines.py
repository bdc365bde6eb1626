"""Print where a pipeline stands in one line: its state in a word, its rows, its requests in flight, its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from batchpipe.commands.printing.text import count, duration, painted, safe, wrapped
from batchpipe.commands.status.read import OpenChunk, Status
from batchpipe.commands.status.waits import spent_text

AT_PROVIDER = ("in_flight", "canceling", "ended", "presumed")
WORDS = {"retry": "due again", "escalated": "due on a higher rung", "new": "to be sent again"}
COLOURS = {"error": "red", "gate": "yellow", "paused": "yellow", "waits": "yellow", "failed rows": "red"}
MOST_NAME = 28


def what_is_wrong(found: Status) -> str:
    """Return what a person should look at: `error`, `gate`, `paused`, `waits`, `failed rows`; empty where nothing."""
    last = found.runs[0].status if found.runs else ""
    if last in ("error", "gate"):
        return last
    if found.paused:
        return "paused"
    if found.troubles or any(each.state not in AT_PROVIDER and each.held_until for each in found.batches):
        return "waits"
    return "failed rows" if found.rows["failed"] else ""


def states_line(rows: Mapping[str, int]) -> str:
    """Return the rows by state: `1,000 accepted (12 to review), 3 failed`."""
    shown = []
    for state, number in rows.items():
        if number and state != "review":
            review = f" ({rows['review']:,} to review)" if state == "accepted" and rows["review"] else ""
            shown.append(f"{number:,} {WORDS.get(state, state)}{review}")
    return ", ".join(shown) or "none yet"


def status_lines(found: Sequence[Status], now: datetime, width: int | None) -> str:
    """Return a line for each pipeline; broken and in colours for a terminal of `width` columns, plain for None."""
    words = [_word(each) for each in found]
    # A name that is longer than the others can be takes no room from their lines.
    name_width = min(max(len(each.pipeline) for each in found), MOST_NAME)
    word_width = max(len(each) for each in words)
    lines = []
    for each, word in zip(found, words, strict=True):
        line = f"{safe(each.pipeline):<{name_width}}  {word:<{word_width}}  {_what(each, now)}"
        if width is None:
            lines.append(line)
        else:
            lines += painted(
                wrapped(line, width, begin=name_width + word_width + 4),
                word,
                COLOURS.get(word, "green"),
                begin=max(name_width, len(safe(each.pipeline))),
            )
    return "\n".join(lines)


def in_evaluation(chunks: Sequence[OpenChunk]) -> str:
    """Return what evaluations have open: `30 requests of an evaluation in flight`."""
    return f"{count(sum(each.requests for each in chunks), 'request')} of an evaluation in flight"


def _word(found: Status) -> str:
    """Return the word for the pipeline's state."""
    flying = any(each.state in AT_PROVIDER for each in found.batches)
    return what_is_wrong(found) or ("in flight" if flying else "done" if found.runs else "new")


def _what(found: Status, now: datetime) -> str:
    """Return the rows, the requests in flight, the waits, the cost and the last run."""
    flying = [each for each in found.batches if each.state in AT_PROVIDER]
    parts = [states_line(found.rows) if any(found.rows.values()) else "no row sent yet"]
    if flying:
        oldest = max(each.age_seconds for each in flying)
        requests = count(sum(each.requests for each in flying), "request")
        parts.append(f"{count(len(flying), 'batch', 'batches')} with {requests}, {duration(oldest)} old")
    if found.evaluations:
        parts.append(in_evaluation(found.evaluations))
    if any(each.wait == "circle" for each in found.upstream):
        parts.append("cannot run")
    if found.waits_for:
        parts.append(f"waits for {safe(', '.join(found.waits_for))}")
    if found.waits is not None:
        parts.append(f"waiting: {safe(found.waits)}")
    if found.cost_usd or found.unpriced or found.booked_usd:
        parts.append(spent_text(found.cost_usd, found.unpriced, found.booked_usd))
    if found.runs:
        parts.append(f"last run {duration((now - found.runs[0].started_at).total_seconds())} ago")
    return "; ".join(parts)
