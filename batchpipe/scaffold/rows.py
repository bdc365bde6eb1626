"""The files of a new pipeline, on a few made-up rows with answers for the emulator or on the rows of a data file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchpipe.scaffold.budget import input_size
from batchpipe.scaffold.drafts import PipelineDraft, draft_files, free_name
from batchpipe.scaffold.sources import DataFile, RowsPlace, read_source
from batchpipe.sql.quoting import quote_identifier

MADE_UP = {
    "The delivery came two days late, but the driver was friendly and carried the parcel upstairs.": (
        "A delivery was two days late, but the driver was helpful."
    ),
    "I followed the manual to the letter and the lamp still flickers. Is there a newer manual?": (
        "A lamp flickers although it was set up by the manual."
    ),
    "Third order with you, and every time exactly what I hoped for. Please never change the tea.": (
        "A regular customer is happy with every order, above all with the tea."
    ),
}
# Names that are not columns in a template.
TEMPLATE_NAMES = frozenset(("fields", "row"))
LINE_LENGTH = 100


def made_up_files(name: str, labels: Sequence[str], panel: Sequence[str] = (), samples: int = 1) -> Drafted:
    """Return the files of a pipeline on a few made-up rows, which can run at once."""
    data = f"pipelines/data/{name}.csv"
    draft = PipelineDraft(
        name=name,
        description=_description(labels),
        query=f"SELECT id, text FROM read_csv('{data}')",
        key=("id",),
        columns=("id", "text"),
        shown=("text",),
        labels=labels,
        task=_task(labels),
        panel=tuple(panel),
        samples=samples,
    )
    outputs: dict[str, dict[str, Any]]
    if labels:
        outputs = {f"A made-up text about {each}.": {"label": each, "confidence": 0.9} for each in labels}
    else:
        outputs = {text: {"answer": sentence} for text, sentence in MADE_UP.items()}
    files = {
        **draft_files(draft),
        data: csv_text(("id", "text"), enumerate(outputs, start=1)),
        f"pipelines/data/answers/{name}.jsonl": answer_lines(outputs),
    }
    return Drafted(files=files, key=draft.key, shown=draft.shown, left_out={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """The files of a new pipeline, its key, the columns in its prompt, and those left out, each with the reason.

    `notes` are what a person should know of how the data file is read.
    """

    files: Mapping[str, str]
    key: Sequence[str]
    shown: Sequence[str]
    left_out: Mapping[str, str]
    notes: Sequence[str] = ()


def source_files(
    name: str,
    root: Path,
    path: Path,
    labels: Sequence[str],
    place: RowsPlace | None = None,
    panel: Sequence[str] = (),
    samples: int = 1,
) -> Drafted:
    """Return the files of a pipeline on the rows of a data file. Raises UsageError if the file cannot be used.

    There are no answers for the emulator, which makes up answers that fit the schema: right ones are not known, and
    rows of the file are not copied into a file that is checked in.
    """
    source = read_source(root, path, labels, place)
    names = _column_names(source.columns)
    key = tuple(names[column] for column in source.key)
    content = [column for column in source.columns if column not in source.key]
    candidates = content if content and source.key_is_named else list(source.columns)
    # A prompt that shows nothing is of no use: then all is shown, and said.
    shown = [column for column in candidates if column not in source.left_out] or candidates
    left_out = {names[each]: reason for each, reason in source.left_out.items() if each not in (*shown, *source.key)}
    draft = PipelineDraft(
        name=name,
        description=_description(labels),
        query=_query(source, names),
        key=key,
        columns=tuple(names.values()),
        shown=tuple(names[each] for each in shown),
        left_out=left_out,
        files={names[each]: kind for each, kind in source.files.items()},
        setup=source.setup,
        labels=labels,
        task=_task(labels),
        size=input_size(root, source.here, source.columns, source.setup_here),
        panel=tuple(panel),
        samples=samples,
    )
    return Drafted(files=draft_files(draft), key=key, shown=draft.shown, left_out=left_out, notes=source.notes)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return the text of a CSV file."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()


def answer_lines(outputs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return answers for the emulator: each output answers a prompt that holds its text."""
    lines = [{"match": text, "output": output} for text, output in outputs.items()]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _description(labels: Sequence[str]) -> str:
    return "Choose a label for each row" if labels else "Write a sentence about each row"


def _task(labels: Sequence[str]) -> str:
    return "You sort the rows of a table." if labels else "You describe the rows of a table."


def _column_names(columns: Sequence[str]) -> dict[str, str]:
    """Return the pipeline's name for each column of the file; only names that mean something else are changed."""
    names: dict[str, str] = {}
    for column in columns:
        wanted = column.lstrip("_") or "column"
        if wanted in TEMPLATE_NAMES:
            wanted = f"{wanted}_column"
        others = {*names.values(), *(each for each in columns if each != column)}
        names[column] = wanted if wanted == column else free_name(wanted, others)
    return names


def _query(source: DataFile, names: Mapping[str, str]) -> str:
    selected = [
        sql if names[column] == column else f"{sql} AS {quote_identifier(names[column])}"
        for column, sql in zip(source.columns, source.expressions, strict=True)
    ]
    line = f"SELECT {', '.join(selected)}"
    if len(line) > LINE_LENGTH:
        line = "SELECT\n    " + ",\n    ".join(selected)
    return f"{line}\nFROM {source.relation}\n"
