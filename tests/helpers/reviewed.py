"""Corrections as a person makes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from projects import Project

from batchpipe.engine.quality.review import Desk, ReviewRow, RowReview
from batchpipe.pipeline.load import load


@contextmanager
def desk_of(project: Project, which: str = "open", person: str = "ada") -> Iterator[Desk]:
    context = project.context()
    context.environment = {**context.environment, "USER": person}
    file = load(project.root / "pipelines" / "demo.toml", project.root)
    work = context.work()
    try:
        with context.source(file, {}) as source:
            resolved = context.resolve(file, source)
            snapshot = source.snapshot(project.root / "review" / "input.parquet", resolved.input_columns)
        desk = Desk(context=context, work=work, resolved=resolved, snapshot=snapshot)
        desk.choose(which)
        yield desk
    finally:
        work.close()
        context.close()


def _seen(row: ReviewRow) -> dict[str, Any]:
    """Return the document with the model's values in the fields that a row of the sample hides."""
    return {**{name: row.answer[name] for name in row.hidden if name in row.answer}, **row.document}


def correct(
    project: Project, changes: Mapping[int, Mapping[str, Any]], *, which: str = "again", person: str = "ada"
) -> None:
    """Set fields of rows by their key."""
    with desk_of(project, which, person) as desk:
        rows = {int(json.loads(row.key)[0]): row for row in desk.all_rows()}
        wanted = [(rows[key], {**_seen(rows[key]), **fields}) for key, fields in changes.items()]
        judged = desk.validate([(row.number, document) for row, document in wanted])
        assert [error for _, error in judged] == [""] * len(judged)
        verdicts = [
            RowReview(number=row.number, document=document, accepted=document == row.answer)
            for (row, _), (document, _) in zip(wanted, judged, strict=True)
            if document is not None
        ]
        assert desk.record(verdicts) == []
