"""Handle orders: what a person asks for beyond the plain rule. An order is recorded once, with its commit, and every
run follows it until it is done.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from batchpipe.common.errors import UsageError
from batchpipe.engine.cost.ladder import present_settings
from batchpipe.engine.ledger.events import add_event, standing_reviews
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.engine.votes.parts import fill_parts
from batchpipe.engine.votes.slots import voted_columns, votes_join
from batchpipe.pipeline.sending import CONFIDENCE_COLUMN, LOCAL
from batchpipe.schema.columns import value_sql
from batchpipe.sql.conditions import OUTPUT_PREFIX, Condition, bind_condition, parse_condition
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, quote_list, quote_literal, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

OrderKind = Literal["redo", "keep", "retry_failed"]

# The commit of an order that is only asked about: it is newer than every recorded one.
NOT_RECORDED = 1 << 62
STANDING_OUTPUT = Sql("o.output")
LOCAL_VERSION = re.compile(rf"{LOCAL}(:v[0-9]+)?")
WORD = re.compile(rf"all|model|accept|{LOCAL_VERSION.pattern}", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Describes one order.

    `argument` is `all`, `model`, `accept`, `local` (rows that the local model answered), `local:v7` or a condition in
    SQL, `selection` the condition of `--where`. `seq` is the commit that recorded it, `number` the name that people
    use.
    """

    kind: OrderKind
    argument: str
    seq: int
    order_id: str | None
    condition: Condition | None
    selection: str | None = None
    selected: Condition | None = None
    number: int | None = None

    @property
    def needs_output(self) -> bool:
        """Return whether the present output has to be at hand to say which rows the order means."""
        return (
            self.kind == "keep"
            or self.selected is not None
            or (self.kind == "redo" and self.argument not in ("all", "model") and not is_local_version(self.argument))
        )


def order_argument(text: str) -> str:
    """Return the argument of an order as it is recorded: a word in small letters, and SQL as it was typed."""
    return text.strip().lower() if WORD.fullmatch(text.strip()) else text


def is_local_version(argument: str) -> bool:
    """Return whether a `--redo` names the local model, or a version of it: `local`, `local:v7`."""
    return LOCAL_VERSION.fullmatch(argument) is not None


def order_condition(
    resolved: Resolved, connection: Connection, text: str, where: str, words: Sequence[str] = ()
) -> Condition:
    """Return an order's condition, parsed and bound. `words` may be written in its place.

    Raises PipelineError where it cannot be used.
    """
    field_types = {each.name: each.type for each in resolved.columns} | dict(resolved.vote_columns)
    column_types = {each.name: each.type for each in resolved.input_columns}
    condition = parse_condition(connection, text, fields=field_types, columns=column_types, where=where, words=words)
    bind_condition(connection, condition, field_types=field_types, column_types=column_types, where=where)
    return condition


def make_order(
    resolved: Resolved,
    connection: Connection,
    kind: OrderKind,
    argument: str,
    selection: str | None = None,
    *,
    seq: int = NOT_RECORDED,
    order_id: str | None = None,
    number: int | None = None,
) -> Order:
    """Return an order; its SQL, where it has any, is parsed against the present input and output.

    Raises PipelineError for SQL that cannot be used, UsageError for `--redo accept` where no rung has an `accept`.
    """
    condition = None
    plain = ("all", "model", "accept") if kind == "redo" else ("all",)
    if argument not in plain and not (kind == "redo" and is_local_version(argument)):
        condition = order_condition(resolved, connection, argument, f"--{kind.replace('_', '-')}", plain)
    if argument == "accept" and not any(resolved.answer_rules.accepts) and resolved.local is None:
        what = "`--redo accept` needs an `accept` in the ladder, and no rung has one"
        raise UsageError(what, where=resolved.file.where("[[models]] accept"), hint='Add accept = "confidence >= 0.8".')
    selected = order_condition(resolved, connection, selection, "--where") if selection else None
    return Order(
        kind=kind,
        argument=argument,
        seq=seq,
        order_id=order_id,
        condition=condition,
        selection=selection,
        selected=selected,
        number=number,
    )


def open_orders(session: Session, resolved: Resolved) -> list[Order]:
    """Return the orders that are not done yet, oldest first.

    Reads `ledger.orders`, `ledger.events`.
    """
    if not session.knows(resolved.names):
        return []
    rows = session.rows(query("open_orders", pipelines=quote_list(resolved.names)))
    return [
        make_order(
            resolved, session.connection, kind, argument, selection, seq=seq, order_id=str(order_id), number=number
        )
        for kind, argument, selection, seq, order_id, number, _ in rows
    ]


def orders_asked(
    session: Session,
    resolved: Resolved,
    asked: Sequence[tuple[OrderKind, str]],
    selection: str | None,
    recorded: Sequence[Order],
) -> list[Order]:
    """Return the orders that a call asks for and that are not open already. `selection` is the condition of `--where`.

    Reads `ledger.local_models`, `ledger.local_answers`. Raises PipelineError for SQL that cannot be used, UsageError
    for a version of the local model that there is not.
    """
    _refuse_unknown_version(session, resolved, [argument for kind, argument in asked if kind == "redo"])
    known = {(each.kind, each.argument, each.selection) for each in recorded}
    return [
        make_order(resolved, session.connection, kind, argument, selection)
        for kind, argument in asked
        if (kind, argument, selection) not in known
    ]


def _refuse_unknown_version(session: Session, resolved: Resolved, redone: Sequence[str]) -> None:
    """Refuse `--redo` of a version of the local model that there is not, and of a local model that never was.

    Reads `ledger.local_models`, `ledger.local_answers`.
    """
    known: list[str] = []
    for argument in filter(is_local_version, redone):
        if session.knows(resolved.names):
            rows = session.rows(query("local_versions", pipelines=quote_list(resolved.names)))
            known = [f"{LOCAL}:v{number}" for (number,) in rows]
        if argument in known or (argument == LOCAL and (known or resolved.local is not None)):
            continue
        hint = f"There {'are' if len(known) > 1 else 'is'} {', '.join(known)}."
        if not known:
            hint = "No version has answered yet." if resolved.local is not None else "No rung of the ladder is local."
        what = (
            "there is no local model" if argument == LOCAL else f"there is no version {argument!r} of the local model"
        )
        raise UsageError(what, where="--redo", hint=hint)


def newest_redo(orders: Sequence[Order]) -> int:
    """Return the commit of the newest order that asks rows again; 0 where there is none."""
    return max((each.seq for each in orders if each.kind != "keep"), default=0)


def withdraw_orders(session: Session, names: Sequence[str], numbers: Sequence[int], run_id: str | None) -> None:
    """Withdraw open orders: nothing more becomes due or is kept under them.

    Reads `ledger.orders`. Writes `ledger.events`. Raises UsageError for a number of no open order.
    """
    rows = session.dictionaries(query("open_orders", pipelines=quote_list(names)))
    known = {row["number"]: row for row in rows}
    _refuse_unknown(list(known), numbers)
    for number in dict.fromkeys(numbers):
        data = {"order_id": str(known[number]["order_id"]), "number": number}
        add_event(session, names[0], "order_withdrawn", data, run_id=run_id)


def orders_left(orders: Sequence[Order], withdrawn: Sequence[int]) -> list[Order]:
    """Return the open orders that are left once those numbered in `withdrawn` are withdrawn.

    Raises UsageError for a number of no open order.
    """
    _refuse_unknown([each.number for each in orders], withdrawn)
    return [each for each in orders if each.number not in withdrawn]


def _refuse_unknown(known: Sequence[int | None], numbers: Sequence[int]) -> None:
    for number in numbers:
        if number not in known:
            hint = f"Open orders: {', '.join(map(str, known))}." if known else "No order is open."
            raise UsageError(f"there is no open order {number}", where="--withdraw", hint=hint)


def output_relation(
    resolved: Resolved,
    snapshot: Snapshot,
    condition: Condition,
    extra: Sql | None = None,
    *,
    document: Sql = STANDING_OUTPUT,
) -> Sql:
    """Return SQL for `key_id` with the columns that `condition` reads, from the snapshot and the present output.

    `document` is `o.output`, or `o.answer` for the model's own answer where a person has corrected it. `extra` is a
    further column.
    The SQL reads `work.input`, `work.present`.
    """
    outputs = [
        sql(
            "{value} AS {name}",
            value=value_sql(column, document),
            name=quote_identifier(OUTPUT_PREFIX + column.name),
        )
        for column in resolved.columns
        if column.name in condition.outputs
    ]
    inputs = [sql("s.{name}", name=quote_identifier("i:" + name)) for name in sorted(condition.inputs)]
    chosen = joined(", ", [Sql("i.key_id"), *([extra] if extra else []), *outputs, *voted_columns(condition), *inputs])
    return sql(
        "SELECT {chosen} FROM work.input i JOIN {typed} s USING (position) "
        "LEFT JOIN work.present o ON o.key_id = i.key_id {votes}",
        votes=votes_join(resolved, condition),
        chosen=chosen,
        typed=snapshot.typed(condition.inputs),
    )


def fill_redo(session: Session, resolved: Resolved, snapshot: Snapshot, orders: Sequence[Order]) -> None:
    """Fill `work.redo` with the keys that open orders want answered again, and how.

    `fresh` asks the first rung again; `again` does too, but takes each valid answer that is stored; `escalate` keeps
    the lower rung's answer and asks the rung above it.
    Reads `work.input`, `work.standing`, `work.present`. Writes `work.redo`.
    """
    # work.redo: One row is a key that an open order asks to be done again, with the kind of the order.
    session.execute(Sql("CREATE OR REPLACE TABLE work.redo (key_id UUID, kind VARCHAR)"))
    for order in orders:
        if order.kind == "retry_failed":
            wanted = Sql("SELECT key_id, 'again' FROM work.standing WHERE state = 'failed' AND seq < $seq")
        elif order.kind == "keep":
            continue
        elif order.argument == "all":
            wanted = Sql("SELECT key_id, 'fresh' FROM work.standing WHERE started < $seq")
        elif order.argument == "model":
            present = quote_list(present_settings(resolved))
            wanted = query("redo_model", present=present, pipelines=quote_list(resolved.names))
            if resolved.panels:
                wanted = _of_panels(session, resolved, "redo_missing_parts", wanted)
        elif order.argument == "accept":
            wanted = _redo_accept(resolved, snapshot)
            if resolved.panels:
                wanted = _of_panels(session, resolved, "redo_votes", wanted)
        elif is_local_version(order.argument):
            local = quote_literal(order.argument)
            wanted = query("redo_local", version=local, pipelines=quote_list(resolved.names))
        else:
            assert order.condition is not None
            relation = output_relation(resolved, snapshot, order.condition)
            wanted = sql(
                "SELECT key_id, 'fresh' FROM ({relation}) WHERE {truth} "
                "AND key_id IN (SELECT key_id FROM work.standing WHERE started < $seq) AND key_id NOT IN ({since})",
                relation=relation,
                since=query("answered_since", pipelines=quote_list(resolved.names)),
                truth=order.condition.truth,
            )
        session.execute(
            sql(
                "INSERT INTO work.redo SELECT * FROM ({wanted}) w(key_id, kind) "
                "WHERE key_id NOT IN (SELECT key_id FROM work.redo) {selection}",
                wanted=wanted,
                selection=_selection(resolved, snapshot, order),
            ),
            {"seq": order.seq},
        )


def _of_panels(session: Session, resolved: Resolved, statement: str, others: Sql) -> Sql:
    """Return SQL for the rows that stand on a rung which asks more than once and are done again there, and `others`.

    Writes `work.parts`.
    """
    fill_parts(session.connection, resolved)
    panels = joined(", ", (number_sql(each) for each in resolved.panels))
    votes = query(statement, pipelines=quote_list(resolved.names), panels=panels)
    standing = query("standing_on_panels", pipelines=quote_list(resolved.names), panels=panels)
    return sql(
        "{votes} UNION ALL SELECT * FROM ({others}) o(key_id, kind) WHERE key_id NOT IN ({standing})",
        votes=votes,
        others=others,
        standing=standing,
    )


def _redo_local_accept(resolved: Resolved, snapshot: Snapshot) -> list[Sql]:
    """Return the same for the local model, whose confidence is recorded beside its answers. Reads `work.standing`."""
    if resolved.local is None:
        return []
    accept = resolved.local.accept
    sure = query("local_confidence", column=quote_identifier(OUTPUT_PREFIX + CONFIDENCE_COLUMN))
    relation = output_relation(resolved, snapshot, accept, extra=sure, document=Sql("o.answer"))
    return [query("redo_local_accept", relation=relation, truth=accept.truth)]


def _redo_accept(resolved: Resolved, snapshot: Snapshot) -> Sql:
    """Return SQL for the rows whose stored answer no longer passes the `accept` of the rung that gave it."""
    parts = _redo_local_accept(resolved, snapshot)
    for rung, accept in enumerate(resolved.answer_rules.accepts, start=1):
        if accept is None or rung == resolved.height or rung in resolved.panels:
            continue
        relation = output_relation(resolved, snapshot, accept, extra=Sql("o.rung"), document=Sql("o.answer"))
        parts.append(
            sql(
                "SELECT key_id, 'escalate' FROM ({relation}) WHERE rung = {rung} AND NOT {truth} AND key_id IN "
                "(SELECT key_id FROM work.standing WHERE state = 'accepted' AND started < $seq)",
                relation=relation,
                rung=number_sql(rung),
                truth=accept.truth,
            )
        )
    if not parts:
        return Sql("SELECT key_id, 'escalate' FROM work.standing WHERE false AND started < $seq")
    return joined(" UNION ALL ", parts)


def fill_keep(session: Session, resolved: Resolved, snapshot: Snapshot, orders: Sequence[Order]) -> None:
    """Fill `work.to_keep` with the answered keys that are left as they are, and after which change.

    They are what open orders and `[rerun]` say. What a person has reviewed stays after every change but that of its
    input.
    Reads `work.input`, `work.present`, the standing reviews. Writes `work.to_keep`.
    """
    # work.to_keep: One row is a key that an order keeps as it is, with the reason for which it would be due.
    session.execute(Sql("CREATE OR REPLACE TABLE work.to_keep (key_id UUID, change VARCHAR)"))
    reviewed = standing_reviews(session, resolved.names)
    for change in ("prompt_changed", "schema_changed", "check_failed"):
        session.execute(
            sql("INSERT INTO work.to_keep SELECT key_id, $1 FROM ({reviewed})", reviewed=reviewed), [change]
        )
    for order in orders:
        if order.kind == "keep":
            kept = _answered(resolved, snapshot, order.condition, Sql(""))
            chosen = sql(
                "SELECT key_id FROM ({kept}) WHERE true {selection}",
                kept=kept,
                selection=_selection(resolved, snapshot, order),
            )
            for change in resolved.rerun:
                session.execute(
                    sql("INSERT INTO work.to_keep SELECT key_id, $1 FROM ({chosen})", chosen=chosen), [change]
                )
    for change, rule in resolved.rerun.items():
        if rule is not True:
            kept = _answered(resolved, snapshot, rule or None, Sql("NOT "))
            session.execute(sql("INSERT INTO work.to_keep SELECT key_id, $1 FROM ({kept})", kept=kept), [change])


def _answered(resolved: Resolved, snapshot: Snapshot, condition: Condition | None, negation: Sql) -> Sql:
    """Return SQL for the keys that have an answer and for which `condition` holds, or with `negation` does not hold."""
    if condition is None:
        return Sql("SELECT key_id FROM work.present")
    relation = output_relation(resolved, snapshot, condition)
    return sql(
        "SELECT key_id FROM ({relation}) WHERE {negation}{truth} AND key_id IN (SELECT key_id FROM work.present)",
        relation=relation,
        negation=negation,
        truth=condition.truth,
    )


def _selection(resolved: Resolved, snapshot: Snapshot, order: Order) -> Sql:
    """Return SQL that holds an order to the rows of its `--where`."""
    if order.selected is None:
        return Sql("")
    relation = output_relation(resolved, snapshot, order.selected)
    return sql(
        "AND key_id IN (SELECT key_id FROM ({relation}) WHERE {truth})", relation=relation, truth=order.selected.truth
    )
