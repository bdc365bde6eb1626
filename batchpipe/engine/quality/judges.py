"""Ask the judge of an evaluated field: a model that says whether an answer means the true value.

A judge is a pipeline of its own, named `NAME:judge:FIELD:HASH` after its prompt version and its ladder. Its rows are
pairs of a gold row and an answer; models that gave the same answer share one pair. A verdict of the same model on the
same two texts is reused, whichever model gave the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from batchpipe.common.errors import PipelineError, Problem
from batchpipe.common.given import toml_key
from batchpipe.decide.fingerprint import as_number, digest
from batchpipe.engine.answers.validation import fill_answers, validate_documents
from batchpipe.engine.context import Context
from batchpipe.engine.cost.ladder import settings_text
from batchpipe.engine.gold.gold_rows import GoldField
from batchpipe.engine.resolved.resolve import Resolved, resolve
from batchpipe.engine.source.snapshot import InputColumn, Snapshot, input_column, input_hashes_sql
from batchpipe.engine.source.source import Inputs
from batchpipe.pipeline.model import Input, Output, PipelineFile
from batchpipe.pipeline.review_table import Review
from batchpipe.pipeline.value_types import OutputField
from batchpipe.providers.known import KnownProviders, with_provider
from batchpipe.schema.columns import Column
from batchpipe.sql.conditions import INPUT_PREFIX, OUTPUT_PREFIX
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, sql, type_sql
from batchpipe.store.database import Work
from batchpipe.store.queries import query

ANSWER, EXPECTED = "answer", "expected"
SHOWN_HASH = 8
NAMING_RECIPE = 1  # the recipe of the hashes in these names, whatever today's recipe is
SHOWN_FAILURES = 5
FIELDS = {
    "reason": OutputField(type="string", description="Why, in one sentence."),
    "correct": OutputField(type="boolean", description="Whether the answer is right."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldJudge:
    """The judge of the field `name`: `resolved` is its pipeline, `type` the field's DuckDB type.

    `number` is part of the names of its working tables. `column` is the gold column with the true values, if there is
    one. The columns in `taken` are hidden by the judge's own names.
    """

    number: int
    name: str
    type: str
    column: str | None
    taken: tuple[str, ...]
    resolved: Resolved

    @property
    def _parts(self) -> dict[str, Sql]:
        """Return SQL of the answer and the true value in a row of `work.answered` and `work.truth`, and of the pair's
        key.
        """
        given = quote_identifier(OUTPUT_PREFIX + self.name)
        answer = sql("TRY_CAST(a.{given} AS {type})", given=given, type=type_sql(self.type))
        text = answer if self.type == "VARCHAR" else sql("to_json({answer})", answer=answer)
        return {
            "answer": answer,
            "expected": sql("t.{name}", name=quote_identifier(self.name)),
            "key": sql("to_json(list_append(from_json(t.key, '[\"VARCHAR\"]'), {text}::VARCHAR))::VARCHAR", text=text),
        }

    @property
    def _pairs(self) -> Sql:
        return sql("work.pairs_{number}", number=number_sql(self.number))

    @property
    def _verdicts(self) -> Sql:
        return sql("work.verdicts_{number}", number=number_sql(self.number))

    def begin(self, work: Work) -> None:
        """Make the table of pairs anew, without rows.

        Writes `work.pairs_N`.
        """
        work.connection.execute(
            # work.pairs_N: One row is an answer and the true value that it differs from, in the judged field N.
            sql(
                "CREATE OR REPLACE TABLE {pairs} (key_id UUID, key VARCHAR, answer {type}, expected {type})",
                pairs=self._pairs,
                type=type_sql(self.type),
            )
        )

    def add(self, work: Work) -> None:
        """Add the answers of `work.answered` that differ from the true value.

        Reads `work.answered`, `work.truth`. Writes `work.pairs_N`.
        """
        work.connection.execute(query("judged_pairs", pairs=self._pairs, **self._parts))

    def snapshot(self, work: Work, rows: Snapshot, path: Path) -> Snapshot:
        """Return the pairs as the judge's input, a snapshot at `path`. `rows` are the gold rows.

        Reads `work.pairs_N`.
        """
        by_name = {each.name: each for each in self.resolved.input_columns}

        def stored(column: InputColumn) -> Sql:
            value = sql("p.{name}", name=quote_identifier(column.name))
            return sql("CAST({value} AS VARCHAR)", value=value) if column.as_text else value

        answer, expected = by_name[ANSWER], by_name[EXPECTED]
        chosen = query(
            "judged_input",
            pairs=self._pairs,
            rows=rows.relation,
            taken=joined(
                ", ", [Sql("position"), Sql("key"), *(quote_identifier(INPUT_PREFIX + name) for name in self.taken)]
            ),
            answer=stored(answer),
            expected=stored(expected),
            answer_column=answer.stored,
            expected_column=expected.stored,
        )
        pairs = Snapshot(path=path, columns=self.resolved.input_columns, key_columns=(), rows=0)
        return pairs.of_rows(work.connection, chosen, path)

    def read(self, context: Context, work: Work, snapshot: Snapshot) -> Judged:
        """Read what the judge has said of `snapshot`, and what that cost.

        Reads the ledger, `work.truth`, `work.pairs_N`.
        Writes `work.evaluated`, `work.answers`, `work.documents`, `work.verdicts_N`.
        """
        connection, hashed = work.connection, input_hashes_sql(self.resolved.hash_columns)
        with context.database.reading(work) as session:
            statement = query("evaluated_standings", input_hashes=hashed, rows=snapshot.relation)
            session.execute(statement, {"pipeline": self.resolved.name})
            fill_answers(session, Sql("work.evaluated"))
            cost_usd, unpriced = session.one(query("judge_cost"))
        validate_documents(work, self.resolved.answer_rules, Sql("work.answers"))
        connection.execute(query("verdicts", pairs=self._pairs, verdicts=self._verdicts))
        counts = connection.execute(query("judged_counts", verdicts=self._verdicts)).fetchone()
        asked, judged, failed = counts or (0, 0, 0)
        statement = query("judge_failures", verdicts=self._verdicts)
        failures = connection.execute(statement, {"rows": SHOWN_FAILURES}).fetchall()
        return Judged(
            field=self.name,
            models=tuple(with_provider(each.provider, each.model) for each in self.resolved.rungs),
            pairs=asked,
            judged=judged,
            failed=failed,
            failures=tuple((key, error or "") for key, error in failures),
            cost_usd=None if unpriced else cost_usd,
        )

    def verdicts(self, work: Work) -> dict[tuple[int, str], JudgeVerdict]:
        """Return the verdict on each valid answer in `work.answered`, by the model's number and the row's key.

        Reads `work.answered`, `work.truth`, `work.verdicts_N`.
        """
        found = work.connection.execute(query("judged_answers", verdicts=self._verdicts, **self._parts)).fetchall()
        return {(number, key): JudgeVerdict(correct=correct, reason=reason) for number, key, correct, reason in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeVerdict:
    """Whether an answer is right; None where it was not judged. `reason` is what the judge wrote, if it was asked."""

    correct: bool | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The result of a judge: of `pairs` of a row and an answer, `judged` have a verdict and `failed` have none.

    `failures` are the first of the failed ones, as (key, error). `cost_usd` is None where a price is not known.
    """

    field: str
    models: tuple[str, ...]
    pairs: int
    judged: int
    failed: int
    failures: tuple[tuple[str, str], ...]
    cost_usd: Decimal | None

    @property
    def not_judged(self) -> int:
        """Return how many pairs have no verdict."""
        return self.pairs - self.judged


class JudgeInputs:
    """The columns of gold rows with `answer` and `expected`. Small queries run where those of the pipeline run."""

    def __init__(self, inputs: Inputs, columns: tuple[InputColumn, ...], section: str) -> None:
        self.connection: Connection = inputs.connection
        self._inputs = inputs
        self._columns = columns
        self._section = section

    def columns(self) -> tuple[InputColumn, ...]:
        """Return the columns of the gold rows with `answer` and `expected`."""
        return self._columns

    def column_problems(self, columns: Sequence[InputColumn]) -> list[Problem]:
        """Return no problem: the columns are known."""
        return []

    def table(self, query: str, toml_path: str) -> list[dict[str, Any]]:
        """Return the rows of a small query of the judge's prompt."""
        return self._inputs.table(query, toml_path.replace("[prompt", f"[{self._section}.prompt", 1))


def resolve_judges(
    inputs: Inputs,
    file: PipelineFile,
    columns: Sequence[InputColumn],
    answered: Sequence[Column],
    fields: Sequence[GoldField],
    providers: KnownProviders,
) -> tuple[FieldJudge, ...]:
    """Resolve the judges of those `fields` that have one. `columns` are those of the gold rows, `answered` the
    output's.

    `file` is made by `evaluated_file`.
    Raises PipelineError with every problem of every judge.
    """
    types = {each.name: each.type for each in answered}
    judges: list[FieldJudge] = []
    problems: list[Problem] = []
    for field in fields:
        if field.compared.compare != "judge":
            continue
        try:
            judges.append(_resolved(inputs, file, columns, types[field.name], field, fields, providers, len(judges)))
        except PipelineError as error:
            problems.extend(error.problems)
    if problems:
        raise PipelineError.from_problems(problems)
    return tuple(judges)


def _resolved(
    inputs: Inputs,
    file: PipelineFile,
    columns: Sequence[InputColumn],
    type: str,
    field: GoldField,
    fields: Sequence[GoldField],
    providers: KnownProviders,
    number: int,
) -> FieldJudge:
    """Resolve the judge of `field`.

    Raises PipelineError where the input has a column of the judge's own names, or the prompt does not show the answer.
    """
    true_values = {each.column.name for each in fields if each.column is not None}
    taken = tuple(each.name for each in columns if each.name in (ANSWER, EXPECTED) and each.name in true_values)
    left = [each for each in columns if each.name not in taken]
    section = f"eval.fields.{toml_key(field.name)}"
    for each in left:
        if each.name in (ANSWER, EXPECTED):
            what = f"the input has a column {each.name!r}, and a judge's template sees something else under that name"
            hint = f"Give the column another name in the query: SELECT {each.name} AS given_{each.name}."
            raise PipelineError(what, where=file.where(f"[{section}]"), hint=hint)
    given = (*left, input_column(ANSWER, type), input_column(EXPECTED, type))
    judge_file = _judge_file(file, field, section)
    resolved = resolve(judge_file, JudgeInputs(inputs, given, section), providers)
    if ANSWER not in resolved.templates.columns:
        hint = "Write {{ answer }} where the judge should read it."
        raise PipelineError("the judge's prompt never shows the answer", where=judge_file.where("[prompt]"), hint=hint)
    return FieldJudge(
        number=number,
        name=field.name,
        type=type,
        column=field.column.name if field.column is not None else None,
        taken=taken,
        resolved=_named(resolved, field.name),
    )


def _judge_file(file: PipelineFile, field: GoldField, section: str) -> PipelineFile:
    """Return `file` with the prompt and ladder of a field's judge, and the pipeline's budget, chunking and retry."""
    pipeline, compared = file.pipeline, field.compared
    assert compared.prompt is not None
    changed: Mapping[str, Any] = {
        "input": Input(query=file.query, key=(*pipeline.input.key, ANSWER)),
        "prompt": compared.prompt,
        "output": Output(fields=FIELDS),
        "models": compared.models,
        "review": Review(),
        "eval": None,
    }
    own = pipeline.model_copy(update=changed)
    return file.model_copy(update={"pipeline": own, "schema_content": None, "section": section})


def _named(resolved: Resolved, field: str) -> Resolved:
    """Return `resolved` under the name of a judge with this prompt version and ladder."""
    rungs = zip(resolved.rungs, resolved.file.pipeline.models, strict=True)
    ladder = [[settings_text(rung), rung.max_tokens, given.accept, given.when] for rung, given in rungs]
    mark = digest([as_number(resolved.version_under(NAMING_RECIPE).prompt_version), ladder])[:SHOWN_HASH]
    shown = re.sub(r"[^A-Za-z0-9._-]+", "-", field)
    pipeline = resolved.file.pipeline.as_evaluation("judge", shown, mark)
    return replace(resolved, file=resolved.file.model_copy(update={"pipeline": pipeline}))
