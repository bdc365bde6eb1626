"""Read one row as it is now: from the source, planned and rendered by the steps of a run, and never sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchpipe.common.errors import DatabaseError, InputError, PipelineError, UsageError
from batchpipe.engine.context import Context
from batchpipe.engine.plan.orders import open_orders
from batchpipe.engine.plan.plan import PlanOptions
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.plan.render import feedback_text, render_row, template_values
from batchpipe.engine.resolved.recorded_recipes import under_recorded_recipes, with_stored_keys, written_keys
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.pilot import pilot_gold, pilot_sample
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.pipeline.model import PipelineFile
from batchpipe.providers.known import with_provider
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, quote_literal, sql
from batchpipe.store.database import Work
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class DueMember:
    """The request that the next run would send to a member of a rung that votes; `part` tells samples apart."""

    model: str
    part: str
    attempt: int
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The request that the next run would send; on a rung that votes the first of those to its `members`.

    `shares` is the custom id of a request in flight whose answer the row would get.
    """

    rung: int
    model: str
    attempt: int
    max_tokens: int
    shares: str | None
    members: Sequence[DueMember] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RowNow:
    """The row in the input as it is read now, its columns as text. `word` is its state in `plan`.

    `held`: whether the row waits for the approval of a pilot. `system`, `turns`, `user` and `feedback` are the prompt
    as it would be sent. `params` is the whole request without its custom id, on the rung that is due, or the first.
    """

    input: Mapping[str, str | None]
    word: str
    due: Due | None
    held: bool
    system: str | None
    turns: str
    user: str
    feedback: str | None
    params: Any

    @property
    def prompt(self) -> tuple[tuple[str, str | None], ...]:
        """Return the parts of the prompt with their titles, in the order in which they are sent."""
        return (
            ("system", self.system),
            ("turns", self.turns),
            ("user", self.user),
            ("after the last answer", self.feedback),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was found of a row in the input. `row` is None where the input has no such key, or `problem` is set.

    `near` are similar keys of the input, with their likeness from 0 to 1.
    """

    key: str | None = None
    row: RowNow | None = None
    problem: str | None = None
    near: Sequence[tuple[str, float]] = ()


def read_row(
    context: Context, work: Work, file: PipelineFile, params: Mapping[str, Any], keys: Sequence[str]
) -> Reading:
    """Find the first of `keys` (JSON lists of texts) that the input has.

    An input that cannot be read is no error here: `problem` says what is wrong.
    """
    with context.temporary_folder("show-") as temporary:
        try:
            with context.source(file, params) as source:
                resolved = context.resolve(file, source, answers=False)
                snapshot = source.snapshot(temporary / "input.parquet", resolved.input_columns)
            snapshot.make_room(work.memory)
            with context.database.reading(work) as session:
                resolved = under_recorded_recipes(session, resolved)
                snapshot = with_stored_keys(session, resolved, snapshot, temporary / "keyed.parquet")
                columns = resolved.key_columns
                every = [written_keys(session, resolved.names, json.loads(key), columns) for key in keys]
                keys = [*keys, *(key for written in every for key in written)]
            for key in keys:
                one = _one_row(work, snapshot, key, temporary / "row.parquet")
                if one is not None:
                    return Reading(key=key, row=_read(context, work, resolved, one))
            listed = query("near_keys", keys=sql("SELECT key FROM {relation}", relation=snapshot.relation))
            near = work.connection.execute(listed, {"key": keys[0]}).fetchall()
            return Reading(near=[(key, likeness) for key, likeness in near])
        except (PipelineError, InputError, UsageError, DatabaseError) as error:
            return Reading(problem=str(error))


def _one_row(work: Work, snapshot: Snapshot, key: str, path: Path) -> Snapshot | None:
    """Return a snapshot with only the row called `key`; None where there is none."""
    select = sql("SELECT * FROM {rows} WHERE key = {key}", rows=snapshot.relation, key=quote_literal(key))
    one = snapshot.of_rows(work.connection, select, path)
    return one if one.rows == 1 else None


def _read(context: Context, work: Work, resolved: Resolved, one: Snapshot) -> RowNow:
    """Return what a plan for the row of the snapshot `one` would do with it.

    Reads `work.leading`, which the plan writes.
    """
    planner = Planner(
        resolved=resolved,
        database=context.database,
        work=work,
        folder=one.path.parent,
        prices=context.prices(),
    )
    gold = pilot_gold(context, work, resolved)
    with context.database.reading(work) as session:
        orders = open_orders(session, resolved)
        sample = pilot_sample(session, resolved, gold, emulator=context.settings.emulator)
    plan = planner.plan(one, orders, PlanOptions())
    due, seat, place = _due(work, resolved)
    values = _values(work, one, resolved)
    message, params = render_row(resolved, values, rung=seat)
    if due is not None:
        rendered = work.connection.execute(
            sql(
                "SELECT f.params FROM read_parquet({path}) f JOIN work.leading l ON l.continues = f.continues {among}",
                path=quote_literal(str(plan.rendered)),
                among=sql("WHERE f.place = {place} LIMIT 1", place=number_sql(place)) if place else Sql(""),
            )
        ).fetchone()
        params = rendered[0] if rendered else params
    return RowNow(
        input=_texts(work, one),
        word=next(word for word, number in plan.rows_by_reason.items() if number),
        due=due,
        held=due is not None and sample is not None and sample.begun,
        system=message.system,
        turns=resolved.templates.turns_text,
        user=message.user,
        feedback=_feedback(work),
        params=json.loads(params),
    )


def _due(work: Work, resolved: Resolved) -> tuple[Due | None, int, int | None]:
    """Return what would be sent for the row (None if it is not due), the number of the settings that are asked first,
    and the place of the member with these settings.

    Reads `work.leading`, `work.ladder`, `work.parts`.
    """
    statement = query("due_of_members" if resolved.panels else "due_of_row")
    rows = work.connection.execute(statement).fetchall()
    if not rows:
        return None, 1, None
    rung, seat, place, model, attempt, max_tokens, shares, _, provider = rows[0]
    members = [
        DueMember(model=with_provider(each[8], each[3]), part=each[7], attempt=each[4], max_tokens=each[5])
        for each in rows
        if each[2]
    ]
    model = with_provider(provider, model)
    due = Due(rung=rung, model=model, attempt=attempt, max_tokens=max_tokens, shares=shares, members=members)
    return due, seat, place


def _feedback(work: Work) -> str | None:
    """Return what a retry shows the model of its answer before.

    Reads `work.rendered`, `work.leading`.
    """
    row = work.connection.execute(
        Sql(
            "SELECT t.feedback_answer, t.feedback_error FROM work.rendered t "
            "JOIN work.leading l USING (continues) WHERE t.feedback_error IS NOT NULL"
        )
    ).fetchone()
    return feedback_text(row[0] or "", row[1]) if row else None


def _values(work: Work, one: Snapshot, resolved: Resolved) -> dict[str, Any]:
    """Return the columns that the templates use, as templates get them."""
    read = template_values(resolved)
    chosen = joined(", ", [Sql("1"), *read.select])
    row = work.connection.execute(
        sql("SELECT {chosen} FROM {relation} s", chosen=chosen, relation=one.relation)
    ).fetchone()
    return read.row(row[1:]) if row else {}


def _texts(work: Work, one: Snapshot) -> dict[str, str | None]:
    chosen = [sql("{text} AS {name}", text=each.shown, name=quote_identifier(each.name)) for each in one.columns]
    row = work.connection.execute(
        sql("SELECT {chosen} FROM {relation}", chosen=joined(", ", chosen), relation=one.relation)
    ).fetchone()
    return dict(zip([each.name for each in one.columns], row, strict=True)) if row else {}
