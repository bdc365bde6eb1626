"""Show the story of a row in HTML: input, standing answer and prompt; every attempt, decision and review."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from batchpipe.commands.printing.text import count, money, table_value
from batchpipe.commands.show.row import RowNow
from batchpipe.commands.show.row_history import (
    Attempt,
    Decision,
    RecordedReview,
    RowHistory,
    coming_text,
    outcome_text,
    request_tokens_text,
)
from batchpipe.commands.show.votes import vote_blocks
from batchpipe.html.blocks import (
    Block,
    Cell,
    CodeBlock,
    Entry,
    Fold,
    Heading,
    Pairs,
    Section,
    Sentences,
    Text,
    Timeline,
)
from batchpipe.providers.known import with_provider

COLOURS = {
    "accepted": "green",
    "valid": "blue",
    "escalated": "purple",
    "retry": "pink",
    "failed": "red",
    "pending": "blue",
}
LEFT_OUT = "The row's input and prompt are left out: add --with-rows to have them in the file."


def history_sections(
    found: RowHistory, suggest: Callable[[str], str], *, with_rows: bool, being_read: bool = False
) -> list[Section]:
    """Return the sections of a row's story. Only `with_rows` shows its input and its prompt.

    `being_read`: the present input is not there yet.
    """
    left: list[Block] = [Pairs(found=_state(found))]
    if with_rows and found.now is not None:
        inputs: list[tuple[str, Text]] = [(name, value or "") for name, value in found.now.input.items()]
        left += [Heading(text="Input"), Pairs(found=inputs)]
    if found.output is not None:
        left.append(Heading(text="Answer that stands"))
        left.append(Pairs(found=[(name, _value(value)) for name, value in found.output.items()]))
    for each in found.votes:
        left += vote_blocks(each)
    if being_read:
        left.append(Sentences(found=["The present input is being read …"], tone="soft"))
    elif found.now is None:
        problem = f"The input could not be read: {found.problem}" if found.problem else None
        left.append(Sentences(found=[problem or "The row is not in the input any more; its answer is kept."]))
    else:
        left += [Heading(text="Next run"), Sentences(found=[coming_text(found, found.now)])]
        if found.paused:
            left.append(
                Sentences(found=[f"The pipeline is paused; to go on: {suggest(f'run {found.pipeline} --resume')}"])
            )
    left += _prompt(found.now) if with_rows and found.now is not None else []
    entries = [*map(_attempt, found.attempts), *map(_decision, _lone(found)), *map(_review, found.reviews)]
    ordered = [entry for _, entry in sorted(entries, key=lambda each: each[0])]
    told: list[Block] = [Timeline(found=ordered)] if ordered else [Sentences(found=["Nothing yet."], tone="soft")]
    return [
        Section(title="Row", blocks=left, half=True),
        Section(title="What happened", blocks=told, half=True),
    ]


def _prompt(now: RowNow) -> list[Block]:
    """Return the prompt as it would be sent now, folded."""
    folds: list[Block] = [Fold(title=name, blocks=[CodeBlock(text=text)]) for name, text in now.prompt if text]
    return [Fold(title="The prompt as it would be sent now", blocks=folds)]


def _state(found: RowHistory) -> list[tuple[str, Text]]:
    words = {"new": "not answered yet"}.get(found.state, found.state) + (", for review" if found.review else "")
    colour = "amber" if found.review else COLOURS.get(found.state, "grey")
    pairs: list[tuple[str, Text]] = [("state", Cell(text=words, state=colour))]
    if found.error:
        pairs.append(("error", Cell(text=found.error, tone="bad")))
    if found.attempts:
        pairs.append(("cost", f"{money(found.cost_usd)} in {count(len(found.attempts), 'request')}"))
    return pairs


def _attempt(found: Attempt) -> tuple[datetime, Entry]:
    version = f"{found.prompt_version} · " if found.prompt_version else ""
    error = found.verdict_error or found.error
    blocks: list[Block] = [CodeBlock(text=found.answer)] if found.answer is not None else []
    blocks += [Sentences(found=[error], tone="bad")] if error else []
    cost = money(found.cost_usd) if found.outcome is not None else None
    reported = f"{money(found.reported_usd)}, by the gateway" if found.reported_usd is not None else None
    pairs: list[tuple[str, str | None]] = [
        ("outcome", outcome_text(found)),
        ("tokens", request_tokens_text(found)),
        ("cost", cost),
        ("reported", reported),
        ("shares", f"the answer of {', '.join(found.shares_with)}" if found.shares_with else None),
    ]
    blocks.append(Pairs(found=[(name, words) for name, words in pairs if words]))
    ids = [("batch", found.batch_id), ("custom id", found.custom_id), ("answered by", found.answered_by)]
    blocks.append(Fold(title="ids", blocks=[Pairs(found=[(name, words) for name, words in ids if words])]))
    colour = "amber" if found.review else COLOURS.get(found.verdict or "", "blue" if found.is_open else "grey")
    at = found.submitted_at or found.prepared_at
    title = f"{version}rung {found.rung} · {with_provider(found.provider, found.model)}" + (
        f" · sample {found.part}" if found.part > "1" else ""
    )
    words = f"try {found.attempt}, because {found.reason}"
    return at, Entry(title=title, words=words, at=_second(at), colour=colour, blocks=blocks)


def _lone(found: RowHistory) -> list[Decision]:
    """Return the decisions that no result of an attempt led to."""
    collected = {each.collected_at for each in found.attempts}
    return [each for each in found.decisions if each.recorded_at not in collected]


def _decision(found: Decision) -> tuple[datetime, Entry]:
    blocks: list[Block] = [Sentences(found=[found.error], tone="bad")] if found.error else []
    words = f"{found.reason}, rung {found.rung}"
    colour = COLOURS.get(found.state, "grey")
    return found.recorded_at, Entry(
        title=found.state, words=words, at=_second(found.recorded_at), colour=colour, blocks=blocks
    )


def _review(found: RecordedReview) -> tuple[datetime, Entry]:
    title = {
        "accepted": f"{found.reviewed_by} accepted it",
        "withdrawn": f"{found.reviewed_by} took back the review",
    }.get(found.verdict, f"{found.reviewed_by} corrected it")
    blocks: list[Block] = []
    changes = _changes(found.before, found.after)
    if changes:
        blocks.append(Pairs(found=changes))
    words = "it stands" if found.stands else ""
    return found.recorded_at, Entry(
        title=title, words=words, at=_second(found.recorded_at), colour="ink", blocks=blocks
    )


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Text]]:
    names = [each for each in {**before, **after} if before.get(each) != after.get(each)]
    return [(name, f"{_value(before.get(name))} → {_value(after.get(name))}") for name in names]


def _value(value: Any) -> str:
    return _second(value) if isinstance(value, datetime) else table_value(value) or ""


def _second(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S} UTC"
