"""The example pipelines and their data."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import jinja2

from batchpipe.pipeline.load import load
from batchpipe.pipeline.model import Pipeline
from batchpipe.schema.build import enum_queries, full_schema, template_fields
from batchpipe.sql.quoting import quote_literal

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "pipelines").glob("*.toml"))
NAMES = [path.stem for path in FILES]
Row = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """An example pipeline, rendered over the rows that its query gives on this machine."""

    pipeline: Pipeline
    rows: list[Row]
    schema: dict[str, Any]
    system: str
    users: list[str]
    answers: list[Row]

    def row_keys(self) -> list[tuple[Any, ...]]:
        return [tuple(row[name] for name in self.pipeline.input.key) for row in self.rows]

    def answer(self, model: str, user: str) -> Row | None:
        """The first line that speaks for the request, as the emulator chooses it."""
        fits = (line for line in self.answers if line.get("model") in (None, model) and line["match"] in user)
        return next(fits, None)

    def outputs(self, rung: int) -> list[Any]:
        """For each row what the model of the rung answers; None where no line speaks for it."""
        lines = [self.answer(self.pipeline.models[rung].name, user) for user in self.users]
        return [line and line["output"] for line in lines]


def ask(query: str, params: object = None) -> list[Row]:
    with duckdb.connect() as session:
        session.execute(f"SET file_search_path = {quote_literal(str(ROOT))}")
        cursor = session.execute(query, params)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@cache
def example(name: str) -> Example:
    loaded = load(ROOT / "pipelines" / f"{name}.toml", ROOT)
    pipeline, file = loaded.pipeline, loaded.schema_content
    output, prompt = pipeline.output, pipeline.prompt
    values = {path: [tuple(row.values()) for row in ask(query)] for path, query in enum_queries(output).items()}
    constants = {
        **prompt.vars,
        **{name: ask(query) for name, query in prompt.queries.items()},
        "fields": template_fields(output, values, file),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "prompts"),
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: "" if value is None else value,
    )
    assert pipeline.input.query
    assert prompt.system
    assert prompt.user
    rows = ask(pipeline.input.query, dict(pipeline.input.params) or None)
    user = environment.get_template(prompt.user)
    return Example(
        pipeline=pipeline,
        rows=rows,
        schema=full_schema(output, values, file),
        system=environment.get_template(prompt.system).render(constants),
        users=[user.render({**constants, **row}) for row in rows],
        answers=read_lines(ROOT / "pipelines" / "data" / "answers" / f"{name}.jsonl"),
    )


def read_lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


def gold_labels() -> dict[str, str]:
    with (ROOT / "pipelines/data/tickets_gold.csv").open(encoding="utf-8", newline="") as file:
        return {row["ticket_id"]: row["label"] for row in csv.DictReader(file)}
