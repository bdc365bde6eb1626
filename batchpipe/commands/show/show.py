"""Run `batchpipe show`: print the history of one row: input, prompt, every attempt, decisions, cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

from batchpipe.commands.call.call import Call
from batchpipe.commands.call.params import split_params, typed_params
from batchpipe.commands.printing.text import moment, shown_key
from batchpipe.commands.results.rows import find_output, row_of
from batchpipe.commands.show.html import LEFT_OUT, history_sections
from batchpipe.commands.show.row import Reading, read_row
from batchpipe.commands.show.row_history import Attempt, Decision, RowHistory, history_text, review_of
from batchpipe.commands.show.votes import read_votes
from batchpipe.common.errors import UsageError
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.events import is_paused, standing_reviews
from batchpipe.engine.ledger.renames import with_histories
from batchpipe.engine.resolved.recorded_recipes import written_keys
from batchpipe.engine.source.snapshot import shown_values
from batchpipe.engine.upstream.made_of import made_of
from batchpipe.html.render import one_file, report_path, write_report
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query

NEAR_KEYS = 3


def show(
    call: Call,
    pipeline: str,
    key: Sequence[str],
    params: Sequence[str] = (),
    *,
    html: str | None = None,
    with_rows: bool = False,
) -> int:
    """Print the history of the row called `key`: a text for each key column, or one JSON list of them all.

    `params` are `NAME=VALUE` of the input query. With `html` it is written to that file; the row's texts are only there
    `with_rows`.
    Raises UsageError for an unknown key, with the nearest ones.
    """
    page = report_path(call.path(html), html) if html is not None else None
    file = call.one_pipeline(pipeline, "show NAME KEY")
    values = typed_params([file], split_params(params))[file.pipeline.name]
    with call.context() as context:
        (file,) = with_histories(context.database, context.work, [file])
        work = context.work()
        try:
            found = read_row_history(context, work, file, key, values)
        finally:
            work.close()
    if page is not None:
        title, notes = f"{found.pipeline} {found.shown_key}", [] if with_rows else [LEFT_OUT]
        sections = history_sections(found, call.suggest, with_rows=with_rows)
        write_report(page, one_file(title, [(title, sections)], notes, moment(call.machine.clock())))
        call.say(f"written to {page}")
    if call.json:
        call.out(asdict(found))
    elif page is None:
        call.out(history_text(found, call.suggest))
    return 0


def read_row_history(
    context: Context, work: Work, file: PipelineFile, key: Sequence[str], params: Mapping[str, Any]
) -> RowHistory:
    """Return the history of a row, from the present input and the ledger.

    Reads the ledger, the output table. Raises UsageError for an unknown key.
    """
    names = _names(file)
    with context.database.reading(work) as session:
        wanted, known = _wanted_keys(session, work, file, key)
    reading = read_row(context, work, file, params, known or wanted)
    chosen = known[0] if known else reading.key
    made = made_of(context, file, params, json.loads(reading.key)) if reading.row is not None and reading.key else ()
    with context.database.reading(work) as session:
        if chosen is None:
            raise _unknown(session, file, names, wanted[0], reading)
        return replace(_history(session, file, names, chosen, reading), made_of=made)


def read_stored(context: Context, work: Work, file: PipelineFile, key: Sequence[str]) -> RowHistory | None:
    """Return what the ledger has of a row, without the present input; None where it has no such row.

    Reads the ledger, the output table. Raises UsageError where the texts cannot be a key.
    """
    with context.database.reading(work) as session:
        _, known = _wanted_keys(session, work, file, key)
        return _history(session, file, _names(file), known[0], Reading()) if known else None


def _wanted_keys(session: Session, work: Work, file: PipelineFile, key: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the keys that `key` may mean, the likeliest first, and those of them that the ledger has."""
    wanted, names = possible_keys(work, file, key), _names(file)
    for given in [json.loads(each) for each in wanted]:
        wanted += [each for each in written_keys(session, names, given) if each not in wanted]
    return wanted, [each for each in wanted if _is_known(session, names, each)]


def possible_keys(work: Work, file: PipelineFile, key: Sequence[str]) -> list[str]:
    """Return what `key` may mean, the likeliest first, as JSON lists of texts.

    Raises UsageError where the texts cannot be a key.
    """
    columns = file.pipeline.input.key
    texts = [each.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for each in key]
    meant = [texts] if len(texts) == len(columns) else []
    listed = _json_list(texts[0]) if len(texts) == 1 else None
    if listed is not None and len(listed) == len(columns):
        meant.append(listed)
    if not meant:
        shown = " ".join(each.upper() for each in columns)
        what = f"the key has {len(columns)} columns ({', '.join(columns)}), and {len(texts)} values are given"
        hint = f"Write them in this order: show {file.pipeline.name} {shown}, or as one JSON list."
        raise UsageError(what, where="KEY", hint=hint)
    statement = query("key_text")
    rows = [work.connection.execute(statement, {"texts": each}).fetchone() for each in meant]
    return [row[0] for row in rows if row is not None]


def _json_list(text: str) -> list[str] | None:
    try:
        values = json.loads(text)
    except ValueError:
        return None
    if not isinstance(values, list) or any(isinstance(each, list | dict) or each is None for each in values):
        return None
    return [each if isinstance(each, str) else json.dumps(each) for each in values]


def _names(file: PipelineFile) -> list[str]:
    return file.pipeline.names


def _is_known(session: Session, names: Sequence[str], key: str) -> bool:
    statement = query("key_is_known", pipelines=quote_list(names))
    return bool(session.one(statement, {"key": key})[0])


def _unknown(session: Session, file: PipelineFile, names: Sequence[str], key: str, reading: Reading) -> UsageError:
    """Return the error for a key that neither the ledger nor the input has."""
    keys = query("sent_keys", pipelines=quote_list(names))
    sent = session.rows(query("near_keys", keys=keys), {"key": key})
    ranked = dict(sorted([*sent, *reading.near], key=lambda each: (-each[1], each[0])))
    near = [shown_key(each) for each in list(ranked)[:NEAR_KEYS]]
    hint = f"The nearest are: {', '.join(near)}." if near else f"{file.pipeline.name} has no rows yet."
    if reading.problem is not None:
        hint += f" The input could not be read: {reading.problem}"
    return UsageError(f"there is no row {shown_key(key)}", where=f"{file.pipeline.name}, KEY", hint=hint)


def _history(session: Session, file: PipelineFile, names: Sequence[str], key: str, reading: Reading) -> RowHistory:
    parts = {"pipelines": quote_list(names)}
    named = {"key": key, "pipeline": file.pipeline.name}
    now = session.dictionaries(query("row_now", **parts), named)
    attempts = [_attempt(session, each) for each in session.dictionaries(query("row_attempts", **parts), {"key": key})]
    decisions = session.dictionaries(query("row_decisions", **parts), {"key": key})
    reviewed = standing_reviews(session, names)
    reviews = session.dictionaries(query("row_reviews", reviewed=reviewed, **parts), {"key": key})
    output = find_output(session, file)
    state = now[0] if now else {}
    return RowHistory(
        pipeline=file.pipeline.name,
        key=json.loads(key),
        shown_key=shown_key(key),
        state=state.get("state", "new"),
        reason=state.get("reason"),
        review=bool(state.get("review"))
        and state.get("state") == "accepted"
        and not any(each["stands"] for each in reviews),
        error=state.get("error"),
        output=row_of(session, output, key) if output else None,
        cost_usd=_cost(attempts),
        paused=is_paused(session, names),
        now=reading.row,
        problem=reading.problem,
        attempts=attempts,
        decisions=[Decision(**each) for each in decisions],
        reviews=[review_of(each) for each in reviews],
        votes=read_votes(session, file, key),
    )


def _cost(attempts: Sequence[Attempt]) -> Decimal | None:
    """Return what the attempts cost; None where the cost of one that has a result is not known."""
    costs = [each.cost_usd for each in attempts if each.outcome is not None]
    known = [each for each in costs if each is not None]
    return sum(known, Decimal(0)) if len(known) == len(costs) else None


def _attempt(session: Session, row: Mapping[str, Any]) -> Attempt:
    found = dict(row)
    leader, *sent = (found.pop(each) for each in ("leader_key", "input_columns", "input_types", "input_values"))
    shares = None if found["leads"] or leader is None else json.loads(leader)
    shown = shown_values(session.connection, *(each or () for each in sent))
    return Attempt(**found, input=shown, shares_with=shares)
