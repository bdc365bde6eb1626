"""The files of two pipelines that sum up long texts: one over the parts of each text, one over the parts' summaries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batchpipe.common.errors import UsageError
from batchpipe.common.likeness import nearest
from batchpipe.scaffold.budget import budget_usd, input_size
from batchpipe.scaffold.drafts import DATA_RULE, SCHEMA, SMALL_MODEL, free_name
from batchpipe.scaffold.layout import TomlBlock, document
from batchpipe.scaffold.rows import Drafted
from batchpipe.scaffold.sources import DataFile, RowsPlace, read_source
from batchpipe.sql.connection import plain_name

PART_ROOM, WHOLE_ROOM = 400, 800


def summary_files(name: str, root: Path, path: Path, text: str | None, place: RowsPlace | None = None) -> Drafted:
    """Return the files of the pipelines `NAME_parts` and `NAME` on the rows of a data file, whose column `text` is
    summed up.

    Raises UsageError if the file cannot be used, or has no such column.
    """
    source = read_source(root, path, (), place)
    column = _text_column(source, text, path)
    size = input_size(root, source.here, [column], source.setup_here)
    parts, summary = f"{name}_parts", free_name("summary", source.key)
    part, part_id, parts_column = (free_name(each, source.key) for each in ("part", "part_id", "parts"))
    keys = ", ".join(map(plain_name, source.key))
    split = (
        f"SELECT {keys}, piece.id AS {part_id}, piece.part AS {part}, piece.text AS content\n"
        f"FROM (\n    SELECT {keys}, unnest(split_text({plain_name(column)})) AS piece\n"
        f"    FROM {source.relation}\n)\n"
    )
    whole = f"SELECT {keys}, list({summary} ORDER BY {part}) AS {parts_column}\nFROM {parts}\nGROUP BY {keys}\n"
    setup = {"setup": list(source.setup)} if source.setup else {}
    key = source.key[0] if len(source.key) == 1 else list(source.key)
    allowed = budget_usd(size, 1_000, [(SMALL_MODEL, PART_ROOM)])
    mapped = [
        TomlBlock(table={"description": f"Sum up each part of {column}"}),
        TomlBlock(
            comment="A text is cut into parts of at most 4,000 tokens; a part keeps its id while its text stays the "
            "same.\nAfter an edit only the parts that changed are asked for again. An edited part is another row:\n"
            "with `window` it is no reason to stop that keys leave the input.",
            table={"input": {"query": split, "key": [*source.key, part_id], "window": True, **setup}},
        ),
        TomlBlock(table={"prompt": {"system": f"{parts}/system.md.j2", "user": f"{parts}/user.md.j2"}}),
        TomlBlock(table={"output": {"include": [part]}}),
        TomlBlock(table={"output": {"fields": {summary: _field("What this part says", 1_500)}}}),
        TomlBlock(header="[[models]]", table={"model": SMALL_MODEL, "max_tokens": PART_ROOM}),
        TomlBlock(table={"budget": {"max_usd": float(allowed)}}),
    ]
    reduced = [
        TomlBlock(table={"description": f"Sum up {column}, out of the summaries of its parts"}),
        TomlBlock(
            comment=f"The table of the pipeline {parts}: it is run first.",
            table={"input": {"query": whole, "key": key}},
        ),
        TomlBlock(table={"prompt": {"system": f"{name}/system.md.j2", "user": f"{name}/user.md.j2"}}),
        TomlBlock(table={"output": {"fields": {summary: _field("What the whole text says", 3_000)}}}),
        TomlBlock(header="[[models]]", table={"model": SMALL_MODEL, "max_tokens": WHOLE_ROOM}),
        TomlBlock(table={"budget": {"max_usd": float(allowed)}}),
    ]
    first_line = f"#:schema {SCHEMA.removeprefix('pipelines/')}\n"
    files = {
        f"pipelines/{parts}.toml": first_line + document(mapped),
        f"prompts/{parts}/system.md.j2": _rules("You sum up one part of a longer text, in at most 150 words."),
        f"prompts/{parts}/user.md.j2": "<part>\n{{ content }}\n</part>\n",
        f"pipelines/{name}.toml": first_line + document(reduced),
        f"prompts/{name}/system.md.j2": _rules(
            "You get the summaries of the parts of a text, in their order. Sum up the whole text in at most 300 words."
        ),
        f"prompts/{name}/user.md.j2": "{% for each in "
        + parts_column
        + " %}\n<part>\n{{ each }}\n</part>\n{% endfor %}\n",
    }
    return Drafted(files=files, key=source.key, shown=(column,), left_out={}, notes=source.notes)


def _field(description: str, most: int) -> dict[str, object]:
    return {"type": "string", "description": description, "minLength": 1, "maxLength": most}


def _rules(task: str) -> str:
    return (
        f"{task}\n\nRules:\n"
        "1. Say what was decided or found, and who does what by when; keep names, dates and numbers exact.\n"
        "2. Add nothing that the text does not say.\n"
        f"3. {DATA_RULE.replace('row', 'text')}\n"
    )


def _text_column(source: DataFile, text: str | None, path: Path) -> str:
    """Return the column that is summed up: the one that is named, else the only one beside the key."""
    others = [each for each in source.columns if each not in source.key]
    if text is None and len(others) == 1:
        return others[0]
    if text in source.columns:
        return str(text)
    shown: Sequence[str] = others or source.columns
    if text is None:
        raise UsageError(
            "it is not known which column is summed up", where="--text", hint=f"Name it: --text {shown[0]}."
        )
    near = nearest(text, shown)
    hint = f"Did you mean {near!r}?" if near else f"It has: {', '.join(shown)}."
    raise UsageError(f"{path.name} has no column {text!r}", where="--text", hint=hint)
