"""Write the output table out of the ledger: by MERGE from a source with one row per key, or rebuilt as a whole.

The table only repeats what the ledger has, so it can be rebuilt at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchpipe.common.errors import PipelineError
from batchpipe.engine.answers.validation import make_room_for_stored
from batchpipe.engine.ledger.events import add_event, standing_reviews
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, key_sql
from batchpipe.pipeline.model import ADDED_COLUMNS
from batchpipe.schema.columns import value_sql
from batchpipe.sql.quoting import (
    Sql,
    joined,
    number_sql,
    quote_identifier,
    quote_list,
    quote_literal,
    quote_table,
    sql,
    type_sql,
)
from batchpipe.store.database import Session
from batchpipe.store.output_marks import COLUMNS_OF_OUTPUT, OutputMark, read_mark, write_mark
from batchpipe.store.queries import query


def table_columns(resolved: Resolved) -> list[tuple[str, str]]:
    """Return the names and DuckDB types of the output table's columns, in order."""
    return [
        *((each.name, each.type) for each in resolved.key_columns),
        *((each.name, each.type) for each in resolved.columns),
        *((each.name, each.type) for each in resolved.include_columns),
        *ADDED_COLUMNS,
    ]


def ensure_output(session: Session, resolved: Resolved, run_id: str | None) -> bool:
    """Make the table, or rebuild it with today's columns from stored answers. Return whether it was made or rebuilt.

    Reads the ledger. Writes the output table, `ledger.events`. Raises PipelineError for a table that this pipeline did
    not make.
    """
    schema, name = _split(resolved.table)
    present = [
        (column, kind)
        for column, kind in session.rows(
            Sql(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = current_catalog() "
                "AND schema_name = $1 AND table_name = $2 ORDER BY column_index"
            ),
            [schema, name],
        )
    ]
    comment, database = session.one(query("output_comment"), {"schema": schema, "table": name})
    mark = OutputMark(database, resolved.name)
    if present and not _is_ours(session, resolved, read_mark(comment), database, [column for column, _ in present]):
        what = f"the database has a table {resolved.table} that this pipeline did not make; it is not touched"
        raise PipelineError(what, where=resolved.file.where("[output] table"), hint='Set another: table = "..."')
    wanted = _described(session, resolved)
    if present == wanted:
        if read_mark(comment) is None:
            write_mark(session.connection, f"{schema}.{name}", comment, mark)
        return False
    session.execute(sql("CREATE SCHEMA IF NOT EXISTS {schema}", schema=quote_identifier(schema)))
    columns = joined(
        ", ",
        (
            sql("{column} {kind}", column=quote_identifier(column), kind=type_sql(kind))
            for column, kind in table_columns(resolved)
        ),
    )
    session.execute(
        sql("CREATE OR REPLACE TABLE {output_table} ({columns})", output_table=output_table(resolved), columns=columns)
    )
    for column in resolved.columns:
        if column.comment:
            comment = sql(
                "COMMENT ON COLUMN {output_table}.{name}",
                output_table=output_table(resolved),
                name=quote_identifier(column.name),
            )
            session.execute(sql("{comment} IS {text}", comment=comment, text=quote_literal(column.comment)))
    write_mark(session.connection, f"{schema}.{name}", comment, mark)
    if not _was_made(session, resolved):
        add_event(session, resolved.name, "output_made", {"table": f"{schema}.{name}"}, run_id=run_id)
    merge_output(session, resolved, None)
    return True


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
        requests=query("newest_requests", pipelines=pipelines),
        answered=query("stored_outputs", pipelines=pipelines),
    ):
        _merge(session, resolved, source, answered=answered)


def merge_collected(session: Session, resolved: Resolved) -> None:
    """Write what this commit accepted of the batches in `work.ended` into the output table.

    Reads `work.sent`, `work.verdicts`, the ledger. Writes the output table.
    """
    if not resolved.has_output:
        return
    seq = number_sql(session.seq)
    is_new = _is_new(session, resolved)
    for source in _sources(
        session,
        resolved,
        sql("AND key_id IN ({accepted})", accepted=query("accepted_in_commit", seq=seq)),
        accepted=query("accepted_now", seq=seq),
        requests=query("requests_now"),
        answered=query("outputs_now", seq=seq),
    ):
        if is_new:
            session.execute(
                sql("INSERT INTO {output_table} BY NAME {source}", output_table=output_table(resolved), source=source)
            )
        else:
            _merge(session, resolved, source, answered=True)
    if session.one(query("any_accepted_earlier"))[0]:
        merge_output(session, resolved, query("accepted_earlier_answers", seq=seq))


def _sources(
    session: Session, resolved: Resolved, among: Sql, *, accepted: Sql, requests: Sql, answered: Sql
) -> Iterator[Sql]:
    """Yield SQL for the table's rows out of the answers in `accepted`, one statement for each part that is read at
    once.

    `among` limits the keys whose reviews are looked up.
    """
    parts = session.work.parts
    reviewed = standing_reviews(session, resolved.names, among)
    for part in range(parts):
        yield query(
            "output_source",
            pipelines=quote_list(resolved.names),
            columns=joined(", ", _values(resolved)),
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


def refresh_output(session: Session, resolved: Resolved, snapshot: Snapshot) -> None:
    """Set `_current`: a row is current where its answer is valid for today's prompt and input.

    Reads `work.input`, `work.compared`, and `snapshot` where its keys are not written as its columns write them.
    Writes the output table.
    """
    table = output_table(resolved)
    texts = (sql("{key}::VARCHAR", key=quote_identifier(each.name)) for each in resolved.key_columns)
    keyed = query("rows_with_keys", key=key_sql(texts), table=table)
    stored_key = Sql("key")
    if not snapshot.key_columns:
        written = key_sql(each.text for each in resolved.key_columns)
        keyed = query("rows_with_stored_keys_of_input", rows=keyed, key=written, input=snapshot.file)
        stored_key = Sql("coalesce(stored, key)")
    pipelines = quote_list(resolved.names)
    session.execute(
        query("refresh_current", table=table, keyed=keyed, stored_key=stored_key, pipelines=pipelines),
        {"prompt_version": resolved.version.prompt_version},
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
        sql(
            "CAST(json_extract_string(q.key, '$[{number}]') AS {type}) AS {name}",
            number=number_sql(number),
            type=type_sql(each.type),
            name=quote_identifier(each.name),
        )
        for number, each in enumerate(resolved.key_columns)
    ]
    fields = [
        sql("{value} AS {name}", value=value_sql(column, "r.output"), name=quote_identifier(column.name))
        for column in resolved.columns
    ]
    included = [
        sql(
            "TRY_CAST(q.include_values[list_position(q.include_columns, {literal})] AS {type}) AS {name}",
            literal=quote_literal(each.name),
            type=type_sql(each.type),
            name=quote_identifier(each.name),
        )
        for each in resolved.include_columns
    ]
    return [*keys, *fields, *included]


def _is_ours(
    session: Session, resolved: Resolved, mark: OutputMark | None, database: str, columns: Sequence[str]
) -> bool:
    """Return whether this pipeline made the output table that is there.

    Its mark says so. Where the mark was lost (EXPORT and IMPORT of the database, a comment written over), three things
    together do: the event that it was made, `columns` that are those of an output table of this key, and its keys.
    Reads `ledger.events`, `ledger.requests`.
    """
    if mark is not None:
        return mark.database == database and mark.pipeline in resolved.names
    needed = {*(each.name for each in resolved.key_columns), *COLUMNS_OF_OUTPUT}
    if not needed <= set(columns) or not _was_made(session, resolved):
        return False
    keys = joined(", ", (sql("{name}::VARCHAR", name=quote_identifier(each.name)) for each in resolved.key_columns))
    statement = query(
        "output_keys_are_known",
        key=sql("to_json([{keys}])::VARCHAR", keys=keys),
        table=output_table(resolved),
        pipelines=quote_list(resolved.names),
    )
    return bool(session.one(statement)[0])


def _was_made(session: Session, resolved: Resolved) -> bool:
    """Return whether the ledger knows that this pipeline made a table of this name. Reads `ledger.events`."""
    statement = query("output_made", pipelines=quote_list(resolved.names))
    return bool(session.one(statement, {"table": ".".join(_split(resolved.table))})[0])


def _described(session: Session, resolved: Resolved) -> list[tuple[str, str]]:
    """Return the wanted columns with their types as DuckDB writes them."""
    columns = joined(
        ", ",
        (
            sql("NULL::{kind} AS {name}", kind=type_sql(kind), name=quote_identifier(name))
            for name, kind in table_columns(resolved)
        ),
    )
    return [(row[0], row[1]) for row in session.rows(sql("DESCRIBE SELECT {columns}", columns=columns))]


def _split(table: str) -> tuple[str, str]:
    schema, _, name = table.rpartition(".")
    return schema or "main", name


def output_table(resolved: Resolved) -> Sql:
    """Return the output table's two-part name, quoted."""
    return quote_table(".".join(_split(resolved.table)))
