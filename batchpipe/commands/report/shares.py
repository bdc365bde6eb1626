"""Read and print `report --shares FIELD`: the share of each value of a field, with an interval to be published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from batchpipe.commands.call.call import Call
from batchpipe.commands.printing.text import count, table
from batchpipe.commands.results.rows import OutputTable, find_output
from batchpipe.commands.status.states import Named, rows_by_state
from batchpipe.common.errors import UsageError
from batchpipe.decide.fingerprint import RECIPES
from batchpipe.engine.context import Context
from batchpipe.engine.gold.sample import sample_parameter, sample_parts
from batchpipe.engine.ledger.events import standing_reviews
from batchpipe.engine.source.snapshot import canonical_text, key_sql
from batchpipe.evaluation.library import scipy_stats
from batchpipe.evaluation.shares import Reviewed, Share, shares_of
from batchpipe.pipeline.model import ADDED_COLUMNS, PipelineFile
from batchpipe.sql.canonical import json_field_sql
from batchpipe.sql.quoting import Sql, joined, quote_identifier, quote_list, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

MOST_VALUES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The shares of a field in one output table.

    `drawn` rows of the sample are in the table, `reviewed` of them count, and `late` were reviewed although a row that
    is drawn before them was not: they do not count yet. The local model answered `local` of the rows. `failed` rows
    have no answer, and are in no share.
    """

    pipeline: str
    field: str
    by: str | None
    rows: int
    drawn: int
    reviewed: int
    late: int
    people: int
    local: int
    failed: int
    shares: Sequence[Share]


def read_shares(call: Call, context: Context, file: PipelineFile, field: str, by: str | None) -> Shares:
    """Return the shares of `field` among the current rows of the output table, by the values of the column `by`.

    Reads the output table, the ledger. Writes `work.share_rows`. Raises UsageError for a field or a column that there
    is not, and where no row of the sample has been reviewed.
    """
    scipy_stats()
    pipeline = file.pipeline
    if not pipeline.review.sample:
        hint = "Add sample = 0.05 under [review], and review these rows."
        raise UsageError("there is no sample that people review", where=file.where("[review] sample"), hint=hint)
    with closing(context.work()) as work, context.database.reading(work) as session:
        output = find_output(session, file)
        if output is None:
            hint = f"To make it: batchpipe run {pipeline.name}"
            raise UsageError("there are no results yet", where=f"the table {pipeline.table}", hint=hint)
        _fill(session, file, output, field, by)
        states = rows_by_state(session, Named(name=pipeline.name, names=tuple(pipeline.names)))
        found = session.dictionaries(Sql("SELECT * FROM work.share_rows"))
    return _shares(call, file, field, by, found, states.get("failed", 0))


def _fill(session: Session, file: PipelineFile, output: OutputTable, field: str, by: str | None) -> None:
    """Fill `work.share_rows`. Raises UsageError for a field or a column that the table does not have."""
    types, added = dict(output.columns), dict(ADDED_COLUMNS)
    fields = list((file.schema_content or {}).get("properties", file.pipeline.output.fields))
    if field not in fields:
        hint = f"The fields: {', '.join(fields)}."
        raise UsageError(f"there is no output field {field!r}", where="--shares", hint=hint)
    others = [name for name in types if name not in added and name != field]
    if by == field:
        hint = f"Leave --by away, or name another column: {', '.join(others)}."
        raise UsageError(f"the shares are those of {field} itself", where="--by", hint=hint)
    if by is not None and by not in others:
        hint = f"The columns: {', '.join(others)}. Input columns come into the table by include = [...] under [output]."
        raise UsageError(f"the table {output.name} has no column {by!r}", where="--by", hint=hint)
    keys = (
        key_sql(canonical_text(quote_identifier(name), types[name], recipe) for name in output.key)
        for recipe in RECIPES
    )
    by_value = sql("CAST({column} AS VARCHAR)", column=quote_identifier(by)) if by is not None else Sql("NULL::VARCHAR")
    statement = query(
        "share_rows",
        keys=joined(", ", keys),
        by=by_value,
        table=output.quoted,
        pipelines=quote_list(file.pipeline.names),
        predicted=json_field_sql(Sql("r.output"), field, as_text=True),
        truth=json_field_sql(Sql("h.after"), field, as_text=True),
        reviewed=standing_reviews(session, file.pipeline.names),
        **sample_parts(file),
    )
    session.execute(statement, {"sample": sample_parameter(file)})


def _shares(
    call: Call, file: PipelineFile, field: str, by: str | None, rows: Sequence[Mapping[str, Any]], failed: int
) -> Shares:
    """Return the shares from the rows of `work.share_rows`: only rows reviewed in the order of the sample count.

    The order and the probabilities are those of today's sample, for rows too that were reviewed under another one: rows
    of two samples that were mixed would count too much where both drew them.
    """
    name = file.pipeline.name
    values = {each["predicted"] for each in rows}
    if len(values) > MOST_VALUES:
        hint = "Shares are for a field with few values, such as an enum."
        raise UsageError(f"{field} has {count(len(values))} different values", where="--shares", hint=hint)
    ranks = {id(each): each["draw"] / each["probability"] for each in rows}
    limit = min((ranks[id(each)] for each in rows if not each["reviewed"]), default=inf)
    counted = {id(each) for each in rows if each["reviewed"] and ranks[id(each)] < limit}
    drawn = [each for each in rows if each["reviewed"] or each["draw"] < each["probability"]]
    late = sum(each["reviewed"] for each in rows) - len(counted)
    if not counted:
        hint = f"Review the first of them: {call.suggest(f'review {name}')}"
        what = f"nobody has reviewed the first of the {count(len(drawn), 'row')} of the sample"
        raise UsageError(what, where=file.where("[review] sample"), hint=hint)
    found: list[Share] = []
    groups: dict[str | None, list[Mapping[str, Any]]] = {}
    for each in rows:
        groups.setdefault(each["by_value"], []).append(each)
    for group, members in groups.items():
        places = [place for place, each in enumerate(members) if id(each) in counted]
        reviewed = Reviewed(
            answers=[each["predicted"] for each in members],
            places=places,
            truths=[members[place]["truth"] for place in places],
            probabilities=[min(members[place]["probability"] * limit, 1.0) for place in places],
        )
        found += shares_of(reviewed, group)
    return Shares(
        pipeline=name,
        field=field,
        by=by,
        rows=len(rows),
        drawn=len(drawn),
        reviewed=len(counted),
        late=late,
        people=len({each["reviewed_by"] for each in rows if id(each) in counted}),
        local=sum(each["by_local"] for each in rows),
        failed=failed,
        shares=found,
    )


def shares_object(found: Shares) -> dict[str, Any]:
    """Return what `report --json` adds for `--shares`."""
    names = ("value", "by", "share", "low", "high", "reviewed", "worth")
    rows = {name: getattr(found, name) for name in ("rows", "local", "failed", "drawn", "reviewed", "late", "people")}
    return {"shares": [{name: asdict(each)[name] for name in names} for each in found.shares], "share_rows": rows}


def shares_text(found: Shares, terminal: bool) -> str:
    """Return the shares for a person, with how many people saw how many rows, and what is left out."""
    header = (*((found.by,) if found.by is not None else ()), found.field, "share", "95% interval", "counted", "worth")
    lines = [
        [
            *((each.by if each.by is not None else "NULL",) if found.by is not None else ()),
            each.value if each.value is not None else "NULL",
            f"{each.share:.1%}",
            f"{each.low:.1%} to {each.high:.1%}" if each.low is not None else None,
            f"{each.counted:.1%}",
            f"{count(each.worth)} for {count(each.reviewed)}" if each.reviewed else None,
        ]
        for each in found.shares
    ]
    places = range(len(header) - 4, len(header))
    parts = [
        f"{found.pipeline}: shares of {found.field} in {count(found.rows, 'current row')}",
        table(header, lines, terminal=terminal, right=tuple(places)),
        f"{count(found.people, 'person', 'people')} saw {count(found.reviewed)} of the {count(found.drawn)} rows of "
        "the sample, in its order. counted: the models' answers as they are, which are wrong on some rows. worth: how "
        "many reviewed rows alone would give the same interval.",
    ]
    if found.late:
        parts.append(
            f"{count(found.late, 'reviewed row')} not counted yet: a row that is drawn before them is not reviewed."
        )
    if found.local:
        parts.append(
            f"The local model answered {count(found.local)} of the rows: they are in the sample as the others are."
        )
    if found.failed:
        parts.append(f"{count(found.failed, 'failed row')} without an answer: in no share.")
    return "\n\n".join(parts)
