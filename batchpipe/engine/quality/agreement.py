"""Rows that every rung and a top model answer, so that the ladder can be held against that model without gold.

The rows are the first of the input in the order of the hash of their keys: a random sample, the same in every call, and
a larger one has a smaller one in it. The top model's answers take the place of true values. The rows are bought: later
runs take their answers, and nothing is ever trained on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchpipe.common.errors import InputError, PipelineError
from batchpipe.engine.context import Context
from batchpipe.engine.gold.gold_rows import Gold, GoldField, GoldRows, evaluated_file, leave_out, subset
from batchpipe.engine.gold.reviewed_gold import FromReview
from batchpipe.engine.ledger.events import add_event
from batchpipe.engine.quality.evaluate import EvaluatedPrompt, Evaluation
from batchpipe.engine.quality.prepare import Wanted, sides_over
from batchpipe.engine.resolved.local_rung import refuse_missing_packages
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.contents import joint_columns
from batchpipe.pipeline.model import Eval, EvalField, PipelineFile
from batchpipe.schema.describe import is_closed
from batchpipe.sql.quoting import Sql, joined, quote_identifier, quote_list, sql, type_sql
from batchpipe.store.database import Work
from batchpipe.store.queries import query

EXACT = EvalField(compare="exact")
NOBODY = FromReview(sample=0, ladder=0, where=0, other=0)


def prepare_agreement(
    context: Context, work: Work, file: PipelineFile, wanted: Wanted, top: str, folder: Path
) -> Evaluation:
    """Read the input, draw the rows (`wanted.sample`), and resolve each rung and the model `top`, on the ladder or not.

    Writes `work.truth`, whose values are not known yet. Raises PipelineError where no field can be compared, InputError
    for an input without rows.
    """
    refuse_missing_packages(file)
    wanted = replace(wanted, models=(*wanted.models, top))
    over_input = evaluated_file(_evaluated(file), gold=False)
    with context.source(over_input, wanted.params) as source:
        columns = source.columns()
        (side,) = sides_over(context, source, columns, over_input, wanted)
        given = source.snapshot(folder / "input.parquet", joint_columns(columns, [side.ladder.input_columns]))
    given.make_room(work.memory)
    fields = _fields(side.ladder)
    types = {each.name: each.type for each in side.ladder.columns}
    nothing = (
        sql(", NULL::{type} AS {name}", type=type_sql(types[each.name]), name=quote_identifier(each.name))
        for each in fields
    )
    work.connection.execute(query("rows_without_truth", values=joined("", nothing), rows=given.relation))
    shown = sum(leave_out(work, given, side.ladder, rows) for rows in side.ladder.version.queries.values())
    work.connection.execute(query("gold_sample"), {"rows": wanted.sample})
    rows = subset(work, given, Sql("SELECT key_id FROM work.truth"), folder / "rows.parquet")
    if not rows.rows:
        raise InputError("the input has no row to ask", where=file.where("[input]"), hint="Ask when it has some.")
    return Evaluation(
        context=context,
        work=work,
        folder=folder,
        gold=Gold(snapshot=None, fields=fields, whole=False),
        rows=GoldRows(rows=rows, shown=shown, missing=0, reviewed=NOBODY),
        sides=(side,),
        judges=(),
        top=_number_of(context, side, top),
    )


def _evaluated(file: PipelineFile) -> PipelineFile:
    """Return the file with an `[eval]` that has no gold."""
    given = file.pipeline.eval or Eval()
    changed = given.model_copy(update={"gold": None, "expect": {}, "fields": given.fields})
    learner = file.pipeline if file.pipeline.local is not None else None
    return file.model_copy(update={"pipeline": file.pipeline.model_copy(update={"eval": changed}), "learner": learner})


def _fields(ladder: Resolved) -> tuple[GoldField, ...]:
    """Return the fields that are compared: those of `[eval] fields` that need no judge, else each enum, const and
    boolean; never the confidence.
    """
    given = ladder.file.pipeline.eval or Eval()
    schemas: Mapping[str, Any] = ladder.full_schema.get("properties", {})
    if given.fields:
        chosen = {name: how for name, how in given.fields.items() if how.compare != "judge"}
    else:
        chosen = {name: EXACT for name, schema in schemas.items() if is_closed(schema)}
    columns = {each.name for each in ladder.columns}
    found = tuple(
        GoldField(name=name, column=None, compared=how)
        for name, how in chosen.items()
        if name in columns and name not in ("confidence", given.confidence)
    )
    if not found:
        what = "no field is an enum, a const or a boolean, so that two models cannot be said to agree"
        hint = 'Name the fields to compare: fields = { label = "exact" } under [eval].'
        raise PipelineError(what, where=ladder.file.where("[output.fields]"), hint=hint)
    return found


def _number_of(context: Context, side: EvaluatedPrompt, top: str) -> int:
    """Return the number of the last contender that is the model `top`."""
    wanted = context.providers.split(top)
    numbers = [
        each.number
        for each in side.contenders
        if context.providers.split(each.resolved.file.pipeline.models[0].name) == wanted
    ]
    return numbers[-1]


def take_as_true(evaluation: Evaluation) -> frozenset[str]:
    """Take the answers of the top model as the true values; return the keys of rows that it gave no valid answer to.

    Reads `work.answered`. Writes `work.truth`.
    """
    values = (
        sql(", a.{given} AS {name}", given=quote_identifier("o:" + each.name), name=quote_identifier(each.name))
        for each in evaluation.gold.fields
    )
    connection = evaluation.work.connection
    connection.execute(query("truth_of_model", values=joined("", values)), {"number": evaluation.top})
    found = connection.execute(query("not_answered_by_model"), {"number": evaluation.top}).fetchall()
    return frozenset(row[0] for row in found)


def record_bought(evaluation: Evaluation, file: PipelineFile, top: str) -> None:
    """Record which rows are bought, where the ledger does not know it yet: nothing is ever trained on them.

    Reads `work.truth`, `ledger.events`. Writes `ledger.events`.
    """
    work, database = evaluation.work, evaluation.context.database
    names = quote_list(file.pipeline.names)
    keys = {row[0] for row in work.connection.execute(query("keys_of_truth")).fetchall()}
    with database.reading(work) as session:
        known = {row[0] for row in session.rows(query("bought_keys", pipelines=names))}
    if not keys <= known:
        with database.writing(work, None) as session:
            add_event(session, file.pipeline.name, "rows_bought", {"model": top, "keys": sorted(keys - known)})
