"""Cast votes: find the answer to each row that most of its members agree with, and the ladder's verdict on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from batchpipe.decide.verdict import LadderPolicy, Standing, decide
from batchpipe.engine.answers.validation import validate_answers
from batchpipe.engine.resolved.panels import Panel
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.schema.columns import value_sql
from batchpipe.sql.conditions import OUTPUT_PREFIX, parse_condition
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, quote_list, sql
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query


def ladder_policy(resolved: Resolved) -> LadderPolicy:
    """Return how often a row may be tried, and with how many tokens on each rung."""
    retry = resolved.file.pipeline.retry
    return LadderPolicy(
        attempts=retry.attempts,
        transient=retry.transient,
        max_tokens=tuple(each.max_tokens for each in resolved.rungs),
        caps=tuple(resolved.rules_of(each).max_output_tokens(each.model) for each in resolved.rungs),
        contexts=tuple(resolved.rules_of(each).context_tokens(each.model) for each in resolved.rungs),
    )


def cast_votes(work: Work, resolved: Resolved) -> None:
    """Cast the vote of each row of `work.voters`, and decide it by the ladder.

    Reads `work.ballots`, `work.voters`, `work.parts`.
    Writes `work.votes`, `work.documents`, `work.validity`, `work.vote_outcomes`, `work.vote_verdicts`, `work.voted`.
    """
    connection = work.connection
    parts = {
        "choice": _by_rung(resolved, lambda panel: _choice(resolved, panel)),
        **_confidence(work, resolved),
        "least_valid": _by_rung(resolved, lambda panel: number_sql(panel.quorum) if panel.quorum else HALF),
    }
    connection.execute(query("cast_votes", **parts))
    connection.execute(query("documents_of_votes"))
    validate_answers(work, resolved.answer_rules, sql("({voted})", voted=query("answers_of_votes")), votes=None)
    connection.execute(query("vote_outcomes"))
    connection.execute(query("vote_verdicts"))
    policy = ladder_policy(resolved)
    for outcome, rung, rungs, has_earlier in connection.execute(query("vote_standings")).fetchall():
        standing = Standing(
            rung=rung, attempt=1, transients=0, max_tokens=1, rungs=rungs, has_earlier_answer=has_earlier
        )
        verdict = decide(outcome, standing, policy)
        values = [
            outcome,
            rung,
            rungs,
            has_earlier,
            verdict.state,
            verdict.rung,
            verdict.attempts,
            verdict.answer,
            verdict.review,
        ]
        places = joined(", ", [Sql("?")] * len(values))
        connection.execute(sql("INSERT INTO work.vote_verdicts VALUES ({places})", places=places), values)
    connection.execute(query("voted"))


HALF = Sql("l.ballots // 2 + 1")


def _by_rung(resolved: Resolved, each_sql: Callable[[Panel], Sql]) -> Sql:
    """Return SQL that depends on the rung of a ballot `b` or a row `l`."""
    cases = (
        sql("WHEN {rung} THEN {value}", rung=number_sql(rung), value=each_sql(panel))
        for rung, panel in resolved.panels.items()
    )
    return sql("CASE rung {cases} END", cases=joined(" ", cases))


def _choice(resolved: Resolved, panel: Panel) -> Sql:
    """Return SQL for the values of a ballot `b` in the voted fields, as one text."""
    columns = {each.name: each for each in resolved.columns}
    values = (value_sql(columns[name], "b.output") for name in panel.vote)
    fields = (sql("f{number} := {value}", number=number_sql(number), value=each) for number, each in enumerate(values))
    return sql("to_json(struct_pack({fields}))::VARCHAR", fields=joined(", ", fields))


def _confidence(work: Work, resolved: Resolved) -> dict[str, Sql]:
    """Return SQL for how sure a ballot is, by the evaluation's confidence, and for the fields that this reads.

    It is NULL where the confidence reads more than the answer.
    """
    given = resolved.file.pipeline.eval
    names = [each.name for each in resolved.columns]
    text = given.confidence if given is not None else "confidence"
    nothing = {"confidence": Sql("NULL"), "fields": Sql("")}
    if text == "confidence" and "confidence" not in names:
        return nothing
    condition = parse_condition(
        work.connection,
        text,
        fields=[*names, *resolved.vote_columns],
        columns=[each.name for each in resolved.input_columns],
        where=resolved.file.where("[eval] confidence"),
    )
    if condition.inputs or condition.outputs & set(resolved.vote_columns):
        return nothing
    fields = (
        sql(", {value} AS {name}", value=value_sql(each, "b.output"), name=quote_identifier(OUTPUT_PREFIX + each.name))
        for each in resolved.columns
        if each.name in condition.outputs
    )
    return {"confidence": condition.sql, "fields": joined("", fields)}


def record_votes(session: Session, resolved: Resolved, stamp: Mapping[str, object], *, free: bool) -> None:
    """Record the votes that were cast, and what follows from them; `free` says that the plan found all answers stored.

    Reads `work.votes`, `work.voters`, `work.voted`. Writes `ledger.votes`, `ledger.decisions`.
    """
    reason = Sql("CASE x.state WHEN 'accepted' THEN 'carried_over' ELSE r.reason END") if free else Sql("r.reason")
    names = quote_list(resolved.names)
    session.execute(query("insert_vote_decisions", reason=reason, pipelines=names), stamp)
    session.execute(query("insert_votes"), stamp)


def record_stored_parts(
    session: Session, resolved: Resolved, kept: Mapping[str, Sql], started: int, stamp: Mapping[str, object]
) -> None:
    """Record the stored answers that count as votes of due rows, and the votes that they complete.

    `kept` is the SQL of what is kept of a row with its request. `started` is the commit that new rows begin with.
    Reads `work.ballots`, `work.panel_rows`, `work.parts`, `work.voters`, `work.votes`, `work.voted`.
    Writes `ledger.requests`, `ledger.part_decisions`, `ledger.votes`, `ledger.decisions`.
    """
    named = {key: stamp[key] for key in ("pipeline", "run_id", "now", "seq")}
    names = quote_list(resolved.names)
    session.execute(query("follow_stored_parts", pipelines=names, **kept), {**stamp, "started": started})
    session.execute(query("insert_stored_parts"), {**named, "started": started})
    record_votes(session, resolved, named, free=True)


def votes_went_up(work: Work, resolved: Resolved) -> bool:
    """Return whether a vote that the plan cast sends a row up, so that it is due again. Reads `work.voted`."""
    if not resolved.panels:
        return False
    found = work.connection.execute(query("any_vote_went_up")).fetchone()
    return found is not None and bool(found[0])
