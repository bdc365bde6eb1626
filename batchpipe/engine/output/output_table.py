"""Write the output table out of the ledger: by MERGE from a source with one row per key, or rebuilt as a whole.

The table only repeats what the ledger has, so it can be rebuilt at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from batchpipe.engine.answers.validation import make_room_for_stored
from batchpipe.engine.ledger.events import add_event, standing_reviews
from batchpipe.engine.output.child_tables import ensure_child_tables
from batchpipe.engine.output.current import prompt_versions
from batchpipe.engine.output.ownership import (
    OutputPlace,
    described_columns,
    output_place,
    output_table,
    table_columns,
)
from batchpipe.engine.output.unfit_keys import fit_keys_now_sql, fit_keys_sql
from batchpipe.engine.output.written import damage, last_written, record_written, was_made, with_dropped
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.keys import key_value_sql
from batchpipe.engine.votes.slots import fill_standing_votes, slots
from batchpipe.schema.columns import takes_null, value_sql
from batchpipe.sql.quoting import (
    Sql,
    joined,
    number_sql,
    quote_identifier,
    quote_list,
    quote_literal,
    sql,
    type_sql,
)
from batchpipe.sql.recorded import recorded_value
from batchpipe.store.database import Session
from batchpipe.store.output_marks import write_mark
from batchpipe.store.queries import query


def ensure_output(session: Session, resolved: Resolved, run_id: str | None) -> str | None:
    """Make the table, or write it again where its columns or its rows are not those that it should have.

    Return what was found changed by hand and is repaired, in words; None where nothing was.
    Reads the ledger. Writes the output table, `ledger.events`. Raises PipelineError for a table
    that this pipeline did not make.
    """
    return _said(resolved, _ensured(session, resolved, run_id, values=False))


@contextmanager
def writing_output(
    session: Session, resolved: Resolved, run_id: str | None, *, refreshes: bool = False
) -> Iterator[str | None]:
    """Let a commit write into the output table, which is looked at before and recorded afterwards.

    It gives what was found changed by hand and is repaired, in words. `refreshes` says that the commit sets `_current`
    of all rows. Writes what `ensure_output` writes.
    """
    yield _said(resolved, _ensured(session, resolved, run_id, values=True))
    table = output_table(resolved)
    before, _ = last_written(session, resolved, table)
    judge = resolved.judge_hash if refreshes else before.judge if before else None
    record_written(session, resolved, table, run_id, judge)


def _said(resolved: Resolved, found: str | None) -> str | None:
    """Return what is said of a table that was changed by hand; None where it was not."""
    return None if found is None else f"the table {resolved.table} was changed by hand ({found}): it is repaired"


def _ensured(session: Session, resolved: Resolved, run_id: str | None, *, values: bool) -> str | None:
    """Make the table or write it again where that is needed; `values` looks at all values, not only at the rows.

    Return what was found changed by hand, in words.
    """
    place = output_place(session, resolved)
    as_wanted = _is_as_wanted(session, resolved, place)
    behind, found = damage(session, resolved, place, run_id, values=values or not as_wanted)
    if as_wanted and not behind and found is None:
        ensure_child_tables(session, resolved, place)
        return None
    found = with_dropped(found, place)
    _write_again(session, resolved, place)
    ensure_child_tables(session, resolved, place)
    if not place.columns and not was_made(session, resolved, place.shown):
        add_event(session, resolved.name, "output_made", {"table": place.shown}, run_id=run_id)
    if found is not None:
        add_event(session, resolved.name, "output_repaired", {"table": place.shown, "found": found}, run_id=run_id)
    record_written(session, resolved, place.quoted, run_id, None)
    return found


def _is_as_wanted(session: Session, resolved: Resolved, place: OutputPlace) -> bool:
    """Return whether the table has today's columns and takes every row."""
    return place.columns == described_columns(session, resolved) and not place.refuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """Counts the rows of the output table that were missing, that were added, and whose values were changed by hand.

    `found` is what the last commit's record says of it, in words; None where it says nothing.
    """

    missing: int = 0
    added: int = 0
    changed: int = 0
    found: str | None = None

    @property
    def anything(self) -> bool:
        """Return whether anything of the table was changed by hand."""
        return bool(self.missing or self.added or self.changed or self.found)


def repair_output(session: Session, resolved: Resolved) -> Repaired:
    """Write the table again from stored answers; return how it differed from them.

    The columns of `include` and `_current` follow the input: the next run sets them.
    Reads the ledger. Writes the output table, `ledger.events`. Raises PipelineError for a table that this pipeline did
    not make.
    """
    place = output_place(session, resolved)
    as_wanted = _is_as_wanted(session, resolved, place)
    if as_wanted:
        found = with_dropped(damage(session, resolved, place, None, values=True)[1], place)
    else:
        found = _ensured(session, resolved, None, values=True)
        if place.columns:
            return Repaired(found=found or "other columns than today's")
    rows = query("rows_as_written", table=place.quoted, keys=_key_texts(resolved), columns=_of_answers(resolved))
    session.execute(query("rows_before", rows=rows if as_wanted else query("no_rows_before")))
    if as_wanted:
        _write_again(session, resolved, place)
    missing, added, changed = session.one(query("rows_that_differed", rows=rows))
    repaired = Repaired(missing=missing, added=added, changed=changed, found=found)
    if repaired.anything:
        data = {"table": place.shown, "found": found, "missing": missing, "added": added, "changed": changed}
        add_event(session, resolved.name, "output_repaired", data)
        record_written(session, resolved, place.quoted, None, None)
    return repaired


def _of_answers(resolved: Resolved) -> Sql:
    """Return the names of the columns that come from answers, quoted: not those that follow the input."""
    left = {"_current", *(each.name for each in resolved.include_columns)}
    return joined(", ", (quote_identifier(name) for name, _ in table_columns(resolved) if name not in left))


def _key_texts(resolved: Resolved) -> Sql:
    """Return SQL for the texts of the key of a row `t` of the table, as a list."""
    texts = (sql("t.{name}::VARCHAR", name=quote_identifier(each.name)) for each in resolved.key_columns)
    return sql("[{texts}]::VARCHAR[]", texts=joined(", ", texts))


def _write_again(session: Session, resolved: Resolved, place: OutputPlace) -> None:
    """Make the table with today's columns and write it from stored answers; rows that were not current stay so.

    Reads the ledger. Writes the output table.
    """
    session.execute(sql("CREATE SCHEMA IF NOT EXISTS {schema}", schema=quote_identifier(place.schema)))
    flags = _flags_before(session, resolved, place)
    columns = joined(
        ", ",
        (
            sql("{column} {kind}", column=quote_identifier(column), kind=type_sql(kind))
            for column, kind in table_columns(resolved)
        ),
    )
    session.execute(sql("CREATE OR REPLACE TABLE {table} ({columns})", table=place.quoted, columns=columns))
    for column in resolved.columns:
        if column.comment:
            comment = sql("COMMENT ON COLUMN {table}.{name}", table=place.quoted, name=quote_identifier(column.name))
            session.execute(sql("{comment} IS {text}", comment=comment, text=quote_literal(column.comment)))
    write_mark(session.connection, place.shown, place.comment, place.mark)
    merge_output(session, resolved, None)
    if flags is not None:
        session.execute(query("flags_as_before", table=place.quoted, keys=flags))


def _flags_before(session: Session, resolved: Resolved, place: OutputPlace) -> Sql | None:
    """Keep the `_current` of the rows that the table has; return SQL for a row's key, by which they are found again.

    Return None where the table has no such column.
    """
    names = {name for name, _ in place.columns}
    if not {"_custom_id", "_current"} <= names:
        return None
    known = names.issuperset(each.name for each in resolved.key_columns)
    found = _key_texts(resolved) if known else Sql("[]::VARCHAR[]")
    session.execute(query("flags_before", table=place.quoted, keys=found))
    return found


def merge_output(session: Session, resolved: Resolved, keys: Sql | None, *, answered: bool = True) -> None:
    """Write the newest accepted answer, and its review, of the rows of `keys` into the output table.

    `keys` is SQL that gives key_id; None means all rows. The rows become current; where nothing was `answered`,
    `_current` stays as it was.
    Reads the ledger. Writes the output table.
    """
    if not resolved.has_output:
        return
    pipelines = quote_list(resolved.names)
    make_room_for_stored(session, sql("pipeline IN ({pipelines})", pipelines=pipelines), len(resolved.columns))
    among = sql("AND key_id IN ({keys})", keys=keys) if keys is not None else Sql("")
    for source in _sources(
        session,
        resolved,
        among,
        accepted=query("newest_accepted", pipelines=pipelines, among=among),
        requests=query("newest_requests", pipelines=pipelines, fits=fit_keys_sql(resolved)),
        answered=query("stored_outputs", pipelines=pipelines),
    ):
        _merge(session, resolved, source, answered=answered)


def merge_collected(session: Session, resolved: Resolved, run_id: str | None) -> str | None:
    """Write what this commit accepted of the batches in `work.ended` into the output table.

    A row that failed in the end is not current any more. Return what was found changed by hand, in words.
    Reads `work.sent`, `work.verdicts`, the ledger. Writes the output table, `ledger.events`.
    """
    if not resolved.has_output:
        return None
    with writing_output(session, resolved, run_id) as found:
        _merge_collected(session, resolved)
    return found


def _merge_collected(session: Session, resolved: Resolved) -> None:
    """Write the rows that this commit accepted, and mark those that failed. Writes the output table."""
    seq = number_sql(session.seq)
    if resolved.panels or session.one(query("any_part"))[0]:  # a row has several answers
        merge_output(session, resolved, query("accepted_in_commit", seq=seq))
        return _mark_failed(session, resolved, seq)
    is_new = _is_new(session, resolved)
    for source in _sources(
        session,
        resolved,
        sql("AND key_id IN ({accepted})", accepted=query("accepted_in_commit", seq=seq)),
        accepted=query("accepted_now", seq=seq),
        requests=query("requests_now", fits=fit_keys_now_sql(resolved)),
        answered=query("outputs_now", seq=seq),
    ):
        if is_new:
            session.execute(
                sql("INSERT INTO {output_table} BY NAME {source}", output_table=output_table(resolved), source=source)
            )
        else:
            _merge(session, resolved, source, answered=True)
    earlier, failed = session.one(query("earlier_and_failed"))
    if earlier:
        merge_output(session, resolved, query("accepted_earlier_answers", seq=seq))
    return _mark_failed(session, resolved, seq) if failed else None


def _mark_failed(session: Session, resolved: Resolved, seq: Sql) -> None:
    """Mark the rows that failed in this commit as not current. Reads `work.sent`. Writes the output table."""
    keys, fits = joined(", ", _values(resolved)[: len(resolved.key_columns)]), fit_keys_now_sql(resolved)
    parts = {"table": output_table(resolved), "same_key": _same_key(resolved), "fits": fits}
    session.execute(query("failed_now", values=keys, seq=seq, **parts), {"prompt_versions": prompt_versions(resolved)})


def _sources(
    session: Session, resolved: Resolved, among: Sql, *, accepted: Sql, requests: Sql, answered: Sql
) -> Iterator[Sql]:
    """Yield SQL for the table's rows out of the answers in `accepted`, one statement for each part that is read at
    once.

    `among` limits the keys whose reviews are looked up.
    """
    parts = session.work.memory.parts
    fill_standing_votes(session, resolved, accepted)
    reviewed = standing_reviews(session, resolved.names, among)
    for part in range(parts):
        yield query(
            "output_source",
            pipelines=quote_list(resolved.names),
            columns=joined(", ", _values(resolved)),
            beside=query("beside_local") if resolved.local is not None else Sql(""),
            complete=joined(" AND ", [Sql("true"), *_complete(resolved)]),
            prompt_versions=quote_list(prompt_versions(resolved)),
            reviewed=reviewed,
            accepted=sql(
                "SELECT * FROM ({accepted}) WHERE hash(key_id) % {parts} = {part}",
                accepted=accepted,
                parts=number_sql(parts),
                part=number_sql(part),
            )
            if parts > 1
            else accepted,
            requests=requests,
            answered=answered,
            **slots(resolved, "output_source"),
        )


def _is_new(session: Session, resolved: Resolved) -> bool:
    """Return whether no row of `work.sent` is in the table: an INSERT takes a fifth of the time of a MERGE."""
    keys = joined(", ", _values(resolved)[: len(resolved.key_columns)])
    sent = sql("(SELECT {keys} FROM work.sent q) s", keys=keys)
    known = sql(
        "SELECT EXISTS (SELECT 1 FROM {output_table} t JOIN {sent} ON {same_key})",
        output_table=output_table(resolved),
        sent=sent,
        same_key=_same_key(resolved),
    )
    return not session.one(known)[0]


def _same_key(resolved: Resolved) -> Sql:
    """Return SQL for whether a row `t` of the table and a row `s` of the source have the same key."""
    keys = [quote_identifier(each.name) for each in resolved.key_columns]
    return joined(" AND ", (sql("t.{key} IS NOT DISTINCT FROM s.{key}", key=key) for key in keys))


def _merge(session: Session, resolved: Resolved, source: Sql, *, answered: bool) -> None:
    """Write the rows of `source` (SQL) into the output table."""
    table, names = output_table(resolved), [quote_identifier(name) for name, _ in table_columns(resolved)]
    keys_sql = [quote_identifier(each.name) for each in resolved.key_columns]
    left = [*keys_sql, *([] if answered else [quote_identifier("_current")])]
    changed = joined(", ", (sql("{name} = s.{name}", name=name) for name in names if name not in left))
    session.execute(
        sql(
            "MERGE INTO {table} t USING ({source}) s ON {same_key} WHEN MATCHED THEN UPDATE SET {changed} "
            "WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})",
            table=table,
            source=source,
            same_key=_same_key(resolved),
            changed=changed,
            names=joined(", ", names),
            values=joined(", ", (sql("s.{name}", name=name) for name in names)),
        )
    )


def refresh_included(session: Session, resolved: Resolved, snapshot: Sql) -> None:
    """Update the `include` columns, from `snapshot`, of the rows whose input is unchanged.

    Reads `work.input`, `work.compared`. Writes the output table.
    """
    if not resolved.include_columns:
        return
    columns = [*resolved.key_columns, *resolved.include_columns]
    chosen = joined(
        ", ", (sql("{value} AS {name}", value=each.value, name=quote_identifier(each.name)) for each in columns)
    )
    names = [quote_identifier(each.name) for each in resolved.include_columns]
    differs = joined(" OR ", (sql("t.{name} IS DISTINCT FROM s.{name}", name=name) for name in names))
    session.execute(
        sql(
            "MERGE INTO {output_table} t USING (SELECT {chosen} FROM {snapshot} "
            "WHERE position IN (SELECT position FROM work.input "
            "WHERE key_id NOT IN (SELECT key_id FROM work.compared))) s "
            "ON {same_key} WHEN MATCHED AND ({differs}) "
            "THEN UPDATE SET {changes}",
            output_table=output_table(resolved),
            chosen=chosen,
            snapshot=snapshot,
            same_key=_same_key(resolved),
            differs=differs,
            changes=joined(", ", (sql("{name} = s.{name}", name=name) for name in names)),
        )
    )


def _values(resolved: Resolved) -> list[Sql]:
    """Return SQL for each column over the aliases of `output_source`."""
    keys = [
        sql("{value} AS {name}", value=key_value_sql(number, each, Sql("q.key")), name=quote_identifier(each.name))
        for number, each in enumerate(resolved.key_columns)
    ]
    fields = [
        sql("{value} AS {name}", value=value_sql(column, "r.output"), name=quote_identifier(column.name))
        for column in resolved.columns
    ]
    included = [
        sql("{value} AS {name}", value=recorded_value(text, each.type), name=quote_identifier(each.name))
        for each in resolved.include_columns
        for text in [sql("q.include_values[list_position(q.include_columns, {name})]", name=quote_literal(each.name))]
    ]
    return [*keys, *fields, *included, *([Sql('l.confidence AS "_confidence"')] if resolved.local else [])]


def _complete(resolved: Resolved) -> list[Sql]:
    """Return SQL for whether each field has a value, of those that must not be NULL in a current row."""
    nodes = resolved.full_schema["properties"]
    return [
        sql("{name} IS NOT NULL", name=quote_identifier(each.name))
        for each in resolved.columns
        if not each.optional and not takes_null(nodes[each.name])
    ]
