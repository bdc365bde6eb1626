"""Show a diff in HTML: what was compared, the prompt, the fields, fixed and broken rows, changed rows side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence

from batchpipe.commands.diff.gold import HEADER as GOLD_HEADER
from batchpipe.commands.diff.gold import gold_lines, gold_notes, gold_title
from batchpipe.commands.diff.pages import NOTHING, field_words, row_counts
from batchpipe.commands.printing.text import count, key_text
from batchpipe.engine.quality.answer_diff import AnswerDiff, ChangedRow, FieldChange
from batchpipe.html.blocks import Block, Cell, Diff, Fold, Pairs, Section, Sentences, Table, Text
from batchpipe.html.links import Links

LEFT_OUT = "The texts of the input are left out: add --with-rows to have them in the file."


def diff_sections(found: AnswerDiff, hints: Sequence[str], links: Links, *, with_rows: bool) -> list[Section]:
    """Return the sections of a diff. Only `with_rows` shows the input of the changed rows."""
    blocks: list[Block] = [Pairs(found=[each for each in row_counts(found) if each[1]])]
    blocks += [Sentences(found=list(hints))] if hints else []
    sections = [Section(title="What was compared", blocks=blocks)]
    if found.gold is not None:
        table = Table(title=gold_title(found.gold), header=GOLD_HEADER, rows=gold_lines(found.gold), right=(3, 4))
        notes = Sentences(found=gold_notes(found.gold), tone="soft")
        sections.append(Section(title=gold_title(found.gold), blocks=[table, notes]))
    prompt: list[Block] = [Diff(text=each.diff) for each in found.prompt]
    sections.append(Section(title="Prompt", blocks=prompt or [Sentences(found=["The prompt is the same."])]))
    if found.fields:
        fields: list[Block] = [Fold(title=_title(each), blocks=_pairs(each), open=True) for each in found.fields]
        sections.append(Section(title="Fields", blocks=fields))
    if found.rows:
        rows: list[Block] = [_row(each, found.pipeline, links, with_rows=with_rows) for each in found.rows]
        sections.append(Section(title="Changed rows", blocks=rows))
    return sections


def _title(found: FieldChange) -> str:
    return f"{found.name}: {field_words(found)}"


def _pairs(found: FieldChange) -> list[Block]:
    if not found.pairs:
        return []
    rows: list[Sequence[Text]] = [[_shown(old), _shown(new), count(number)] for old, new, number in found.pairs]
    return [Table(title=f"changes of {found.name}", header=("from", "to", "rows"), rows=rows, right=(2,))]


def _row(found: ChangedRow, pipeline: str, links: Links, *, with_rows: bool) -> Fold:
    key = key_text(found.key) if found.key else NOTHING
    changes: list[Sequence[Text]] = [
        [name, Cell(text=_shown(old), tone="bad"), Cell(text=_shown(new), tone="good")]
        for name, old, new in found.fields
    ]
    blocks: list[Block] = [Table(title=f"changes of {key}", header=("field", "from", "to"), rows=changes)]
    if found.from_model != found.to_model:
        blocks.append(Sentences(found=[f"{found.from_model} → {found.to_model}"], tone="soft"))
    if with_rows:
        inputs: list[tuple[str, Text]] = [(name, value) for name, value in found.input.items() if value is not None]
        blocks += [Pairs(found=inputs)] if inputs else []
    link = links.row(pipeline, json.loads(found.key)) if found.key else None
    blocks += [Pairs(found=[("row", Cell(text=key, href=link))])] if link else []
    return Fold(title=key, blocks=blocks, open=True)


def _shown(value: str | None) -> str:
    return NOTHING if value is None else value
