"""Hold the history of one row, and print it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from batchpipe.commands.printing.text import count, moment, money, pairs, safe, table_value
from batchpipe.commands.show.row import RowNow
from batchpipe.commands.show.votes import RowVote, vote_text
from batchpipe.common.hints import typed_again
from batchpipe.engine.upstream.made_of import MadeOf
from batchpipe.providers.known import with_provider
from batchpipe.schema import exact_json

SHOWN_CHARACTERS = 4_000

STANDING_WORDS: Mapping[str, str] = {
    "unchanged": "unchanged since it was answered: nothing would be sent",
    "pending": "its request is in flight: nothing more would be sent",
    "kept": "its result is kept, by --keep, [rerun] or a review: nothing would be sent",
    "failed": "it failed in the end; due again when its input, prompt or schema changes, or with --retry-failed",
    "carried_over": "a stored answer fits it: it would be carried over at no cost",
}
WHY_DUE: Mapping[str, str] = {
    "redo": "an order asks for it again",
    "new": "it was never answered",
    "input_changed": "its input changed",
    "schema_changed": "the output schema changed",
    "prompt_changed": "the prompt changed",
    "check_failed": "its answer fails today's checks",
    "escalated": "the rung below gave no answer that is accepted",
    "retry": "the last try gave no answer that can be used",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request of the row. Times are naive UTC; tokens and cost are None until there is a result.

    A row that does not lead shares the answer of the row `shares_with`, and costs nothing. `followers` counts the rows
    that share the answer of this one. `input` has the values as they were sent, by column, as text. `outcome` is the
    provider's; `verdict` is what it led to (accepted, retry, escalated, failed), and `verdict_error` is why. `part` is
    set for a member of a rung that votes, and tells samples apart; its verdict is valid, retry or failed.
    `reported_usd` is what a gateway says that the request cost.
    """

    custom_id: str
    leads: bool
    shares_with: Sequence[str] | None
    followers: int
    reason: str
    rung: int
    part: str
    provider: str | None
    model: str
    attempt: int
    transients: int
    send: int
    max_tokens: int
    prompt_version: str | None
    prepared_at: datetime
    submitted_at: datetime | None
    completed_at: datetime | None
    collected_at: datetime | None
    batch_id: str | None
    batch_state: str | None
    is_open: bool | None
    input: Mapping[str, str | None]
    outcome: str | None
    answered_by: str | None
    stop_reason: str | None
    answer: str | None
    error: str | None
    error_type: str | None
    verdict: str | None
    review: bool | None
    verdict_error: str | None
    input_tokens: int | None
    cache_write_5m_tokens: int | None
    cache_write_1h_tokens: int | None
    cache_read_tokens: int | None
    output_tokens: int | None
    thinking_tokens: int | None
    cost_usd: Decimal | None
    reported_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A change of the row's state. `rung` answered, or is next; `not_before` delays a retry."""

    recorded_at: datetime
    state: str
    reason: str
    review: bool
    rung: int
    attempts: int
    custom_id: str | None
    prompt_version: str | None
    not_before: datetime | None
    error: str | None
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedReview:
    """What a person said of an answer: `before` is the model's document, `after` the person's.

    It `stands` while the input is the same and there is no newer review.
    """

    recorded_at: datetime
    reviewed_by: str
    verdict: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    chosen: Sequence[str]
    custom_id: str
    stands: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RowHistory:
    """Everything that is known of one row. `now` is None where the row left the input, or `problem` kept the input
    unread. `made_of` are the rows of other pipelines that its input is made of. `votes` are those over its answers, one
    for each rung that voted.
    """

    pipeline: str
    key: Sequence[str]
    shown_key: str
    state: str
    reason: str | None
    review: bool
    error: str | None
    output: Mapping[str, Any] | None
    cost_usd: Decimal | None
    paused: bool
    now: RowNow | None
    problem: str | None
    attempts: Sequence[Attempt]
    decisions: Sequence[Decision]
    reviews: Sequence[RecordedReview]
    made_of: Sequence[MadeOf] = ()
    votes: Sequence[RowVote] = ()


def review_of(row: Mapping[str, Any]) -> RecordedReview:
    """Return a review from a row of the ledger, where documents are text."""
    return RecordedReview(**{**row, "before": exact_json.loads(row["before"]), "after": exact_json.loads(row["after"])})


def history_text(history: RowHistory, suggest: Callable[[str], str]) -> str:
    """Return the history for a person. Nothing in it steers the terminal."""
    parts = [_head(history)]
    if history.output is not None:
        parts.append("output\n" + pairs([(name, _value(value)) for name, value in history.output.items()]))
    parts += [vote_text(each) for each in history.votes]
    parts.append(_now(history, suggest))
    parts += [_attempt(number, each) for number, each in enumerate(history.attempts, start=1)]
    if history.decisions:
        parts.append("decisions\n" + "\n".join(_decision(each) for each in history.decisions))
    if history.reviews:
        parts.append("reviews\n" + "\n".join(_review(each) for each in history.reviews))
    return "\n\n".join(parts)


def _head(history: RowHistory) -> str:
    state = {"new": "not answered yet"}.get(history.state, history.state) + (", for review" if history.review else "")
    lines = [
        ("state", state),
        ("because", history.reason if history.state not in ("accepted", "new") else None),
        ("error", _cut(history.error) if history.error else None),
        ("cost", money(history.cost_usd) if history.attempts else None),
    ]
    return f"{history.pipeline} {history.shown_key}\n{pairs(lines)}"


def _now(history: RowHistory, suggest: Callable[[str], str]) -> str:
    if history.now is None:
        if history.problem is not None:
            return f"now\n  the input could not be read: {_block(history.problem, indent='  ').lstrip()}"
        return "now\n  it is not in the input any more; its answer is kept"
    now = history.now
    lines = [f"now\n  {coming_text(history, now)}"]
    if history.paused:
        lines.append(f"  the pipeline is paused; to go on: {suggest(f'run {history.pipeline} --resume')}")
    lines.append("  input")
    lines.append(pairs([(safe(name), _cut(value)) for name, value in now.input.items() if value], indent="    "))
    lines += [f"  made of {_made_of(each)}" for each in history.made_of]
    for title, text in now.prompt:
        if text:
            lines.append(f"  {title}\n{_block(text)}")
    return "\n".join(lines)


def _made_of(found: MadeOf) -> str:
    """Return the rows of an upstream pipeline, by their keys."""
    if found.rows is None:
        return f"rows of {found.pipeline}; its query does not show of which"
    keys = ", ".join(safe(" ".join(str(each) for each in key)) for key in found.keys)
    more = f" and {found.rows - len(found.keys):,} more" if found.rows > len(found.keys) else ""
    return f"{count(found.rows, 'row')} of {found.pipeline}" + (f": {keys}{more}" if keys else "")


def coming_text(history: RowHistory, now: RowNow) -> str:
    """Return what the next run would do with the row, and why."""
    if now.due is None:
        waits = history.decisions[-1].not_before if history.decisions else None
        if now.word == "retry" and waits is not None:
            return f"it would be tried again after {moment(waits)}"
        return STANDING_WORDS.get(now.word, f"due ({now.word}), but no rung takes it now")
    if now.held:
        again = typed_again(f"batchpipe run {history.pipeline} --approve")
        return f"due ({now.word}), and waits for the approval of a pilot: {again}"
    due, why = now.due, WHY_DUE.get(now.word, now.word)
    if due.shares is not None:
        return f"due ({now.word}: {why}); it would share the answer to {due.shares}, which is in flight"
    if due.members:
        asked = "; ".join(f"{safe(each.model)}, try {each.attempt}" for each in due.members)
        members = f"{count(len(due.members), 'member')} of rung {due.rung}"
        return f"due ({now.word}: {why}); it would be sent to {members}: {asked}"
    return (
        f"due ({now.word}: {why}); it would be sent to rung {due.rung}, {safe(due.model)}, "
        f"try {due.attempt}, max_tokens {due.max_tokens:,}"
    )


def _attempt(number: int, each: Attempt) -> str:
    sample = f", sample {each.part}" if each.part not in ("", "1") else ""
    model = safe(with_provider(each.provider, each.model)) + sample
    head = f"request {number}: rung {each.rung}, {model}, try {each.attempt}, because {each.reason}"
    error = each.verdict_error or each.error
    tokens = request_tokens_text(each)
    lines = [
        ("outcome", outcome_text(each)),
        ("error", _cut(error) if error else None),
        ("shares", f"the answer of {_key(each.shares_with)}: no cost" if each.shares_with else None),
        (
            "shared by",
            f"{each.followers:,} other row{'s' if each.followers != 1 else ''}" if _is_shared(each) else None,
        ),
        ("answered by", each.answered_by if each.answered_by != each.model else None),
        ("tokens", tokens),
        ("cost", money(each.cost_usd) if each.outcome is not None else None),
        ("reported", f"{money(each.reported_usd)}, by the gateway" if each.reported_usd is not None else None),
        ("prompt", each.prompt_version),
        ("batch", each.batch_id),
        ("custom id", each.custom_id),
        ("sent", moment(each.submitted_at or each.prepared_at)),
        ("completed", moment(each.completed_at)),
    ]
    sent = [(safe(name), _cut(value)) for name, value in each.input.items() if value is not None]
    parts = [head, pairs(lines)]
    if sent:
        parts += ["  input as sent", pairs(sent, indent="    ")]
    if each.answer is not None:
        parts += ["  answer", _block(each.answer)]
    return "\n".join(part for part in parts if part)


def _is_shared(each: Attempt) -> bool:
    return each.leads and each.followers > 0


def outcome_text(each: Attempt) -> str:
    """Return how a request ended, and what that led to."""
    if each.outcome is None:
        state = (each.batch_state or "unknown").replace("_", " ")
        return f"none yet, batch {state}" if each.is_open else f"none: batch {state}"
    stop = f" ({each.stop_reason})" if each.stop_reason else ""
    kind = f" ({each.error_type})" if each.error_type else ""
    led = f", so {each.verdict}{' for review' if each.review else ''}" if each.verdict else ""
    return f"{each.outcome}{stop}{kind}{led}"


def request_tokens_text(each: Attempt) -> str | None:
    """Return the tokens of a request by kind; None where it has no result of its own."""
    if each.outcome is None or not each.leads:
        return None
    named = (
        (each.input_tokens, "input"),
        (each.cache_read_tokens, "cache read"),
        ((each.cache_write_5m_tokens or 0) + (each.cache_write_1h_tokens or 0), "cache write"),
        (each.output_tokens, "output"),
    )
    return ", ".join(f"{number:,} {name}" for number, name in named if number) or "none"


def _decision(each: Decision) -> str:
    review = " for review" if each.review and each.state == "accepted" else ""
    version = f", prompt {each.prompt_version}" if each.prompt_version else ""
    wait = f", not before {moment(each.not_before)}" if each.not_before else ""
    why = f": {_cut(each.error, 200)}" if each.error else ""
    what = f"{each.state}{review} ({each.reason}), rung {each.rung}"
    return f"  {moment(each.recorded_at)}  {what}{version}{wait}{why}"


def _review(each: RecordedReview) -> str:
    names = dict.fromkeys([*each.before, *each.after])
    changed = [name for name in names if each.before.get(name) != each.after.get(name)]
    changes = "; ".join(f"{safe(name)}: {_side(each.before, name)} → {_side(each.after, name)}" for name in changed)
    stands = "" if each.stands else " (history)"
    said = f"{each.verdict} by {safe(each.reviewed_by)}{stands}"
    return f"  {moment(each.recorded_at)}  {said}" + (f": {changes}" if changes else "")


def _side(document: Mapping[str, Any], name: str) -> str:
    return _cut(exact_json.dumps(document[name]), 200) if name in document else "(left out)"


def _key(key: Sequence[str]) -> str:
    return _cut(key[0] if len(key) == 1 else json.dumps(list(key), ensure_ascii=False), 80)


def _value(value: Any) -> str | None:
    """Return a value of the output table on one line; None for NULL."""
    text = table_value(value)
    return None if text is None else _cut(text)


def _cut(text: str | None, width: int = SHOWN_CHARACTERS) -> str:
    """Return `text` on one line, safe to show, cut where it is long."""
    if text is None:
        return ""
    more = f"… ({len(text) - width:,} more characters: --json has them)" if len(text) > width else ""
    return safe(text[:width]) + more


def _block(text: str, *, indent: str = "    ") -> str:
    """Return `text` as an indented block, safe to show, cut where it is long."""
    more = (
        f"\n… ({len(text) - SHOWN_CHARACTERS:,} more characters: --json has them)"
        if len(text) > SHOWN_CHARACTERS
        else ""
    )
    shown = safe(text[:SHOWN_CHARACTERS], lines=True) + more
    return "\n".join(indent + line for line in shown.split("\n"))
