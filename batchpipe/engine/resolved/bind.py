"""Parse the conditions of a pipeline file and bind them to the present input and output columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from batchpipe.common.errors import PipelineError, Problem
from batchpipe.engine.resolved.local_rung import ResolvedLocalRung
from batchpipe.engine.resolved.panels import VOTE_COLUMNS
from batchpipe.engine.source.snapshot import InputColumn
from batchpipe.pipeline.model import PipelineFile
from batchpipe.schema.columns import Column
from batchpipe.sql.conditions import Condition, bind_condition, parse_condition
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, number_sql, sql

# For each kind of change: whether it makes an answered row due (a bool), or for which rows (a condition).
Rerun: TypeAlias = Mapping[str, bool | Condition]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The conditions of a file: `accept` and `when` by rung, checks by name, `[rerun]` by word, `[review] where`."""

    accepts: tuple[Condition | None, ...]
    whens: tuple[Condition | None, ...]
    checks: Mapping[str, Condition]
    rerun: Rerun
    review: Condition | None
    local: ResolvedLocalRung | None = None

    @property
    def inputs(self) -> set[str]:
        """Return the input columns that `accept`, `when`, checks and the local rung read. They are part of the input
        hash.

        `[rerun]` and `[review]` are not: they read the present row.
        """
        every = (*self.accepts, *self.whens, *self.checks.values())
        local = self.local.inputs if self.local is not None else set()
        return {name for each in every if each is not None for name in each.inputs} | local


@dataclass(frozen=True, slots=True, kw_only=True)
class _Binder:
    file: PipelineFile
    connection: Connection
    field_types: Mapping[str, str]
    column_types: Mapping[str, str]
    problems: list[Problem]

    def condition(self, text: str | None, toml_path: str, *, outputs: bool = True) -> Condition | None:
        """Return `text` parsed and bound. Return None where there is no text, or where the text is added to the
        problems.
        """
        if text is None:
            return None
        where, fields = self.file.where(toml_path), self.field_types if outputs else {}
        try:
            parsed = parse_condition(self.connection, text, fields=fields, columns=self.column_types, where=where)
            bind_condition(self.connection, parsed, field_types=fields, column_types=self.column_types, where=where)
        except PipelineError as error:
            self.problems.extend(map(_of_votes, error.problems))
            return None
        return parsed


def _of_votes(problem: Problem) -> Problem:
    """Return `problem`; about what a vote adds to a row, with the hint that a rung has to vote."""
    if any(f"is called {name!r}" in problem.what for name in VOTE_COLUMNS):
        return replace(problem, hint="No rung asks more than once, so that there is no vote: write samples or panel.")
    return problem


def bind_conditions(
    file: PipelineFile,
    connection: Connection,
    columns: Sequence[Column],
    input_columns: Sequence[InputColumn],
    problems: list[Problem],
) -> Conditions:
    """Return every condition of `file`, and add what is wrong with them to `problems`."""
    pipeline = file.pipeline
    votes = any(each.votes for each in pipeline.models)
    binder = _Binder(
        file=file,
        connection=connection,
        # A model that an evaluation asks alone has no vote, and checks that read votes are left out.
        field_types={each.name: each.type for each in columns} | (VOTE_COLUMNS if votes or file.evaluates else {}),
        column_types={each.name: each.type for each in input_columns},
        problems=problems,
    )
    rungs = list(enumerate(pipeline.models, start=1))
    checks = {name: binder.condition(text, f"[output.checks] {name}") for name, text in pipeline.output.checks.items()}
    return Conditions(
        accepts=tuple(binder.condition(rung.accept, f"[[models]] {number} accept") for number, rung in rungs),
        whens=tuple(binder.condition(rung.when, f"[[models]] {number} when", outputs=False) for number, rung in rungs),
        checks={
            name: parsed
            for name, parsed in checks.items()
            if parsed is not None and (votes or not parsed.outputs & set(VOTE_COLUMNS))
        },
        rerun={
            word: rule if isinstance(rule, bool) else binder.condition(rule, f"[rerun] {word}") or True
            for word, rule in pipeline.rerun
        },
        # Nobody reviews the rows of an evaluation, whose models need not vote as the ladder does.
        review=binder.condition(None if file.evaluates else pipeline.review.where, "[review] where"),
    )


def rungs_sql(whens: Sequence[Condition | None]) -> Sql:
    """Return SQL for the bits of the rungs that a row may use: bit r - 1 is set where rung r has no `when`, or its
    `when` is true.
    """
    bits = []
    for number, when in enumerate(whens):
        bit = number_sql(1 << number)
        bits.append(bit if when is None else sql("CASE WHEN {truth} THEN {bit} ELSE 0 END", truth=when.truth, bit=bit))
    return sql("({bits})", bits=joined(" + ", bits))
