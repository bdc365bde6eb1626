"""Stored answers to what rows ask, whoever asked it: which of them count, and which rows go up from them."""

from __future__ import annotations

from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.pipeline.evaluations import BOUGHT, EVALUATION, SEPARATOR
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, quote_list, quote_literal, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

# SQL over `work.candidates c`: the row goes on where it is, by a retry or on the next rung.
CONTINUES = Sql(
    "(c.known AND c.redo IS NULL AND c.state IN ('retry', 'escalated') "
    "AND (c.rungs >> (greatest(c.rung, 1) - 1)::UINTEGER) & 1 = 1)"
)


def bought_requests(resolved: Resolved) -> Sql:
    """Return SQL for the requests whose answers are taken wherever a rung asks the same.

    For an evaluation these are all requests of the pipeline and of its evaluations, else those of `try`, and those of
    evaluations.
    """
    evaluated = resolved.file.evaluates
    if evaluated:
        return sql("q.leads AND split_part(q.pipeline, ':', 1) IN ({evaluated})", evaluated=quote_list(evaluated))
    return sql(
        "(q.reason = 'try' AND q.pipeline IN ({names}) OR q.leads AND {bought})",
        names=quote_list(resolved.names),
        bought=bought_sql(resolved, Sql("q.pipeline")),
    )


def bought_sql(resolved: Resolved, pipeline: Sql) -> Sql:
    """Return SQL for whether `pipeline` is a name of evaluations, whose answers this pipeline's runs take."""
    if not resolved.has_output:
        return Sql("false")
    kinds = (EVALUATION, BOUGHT)
    names = (quote_literal(SEPARATOR.join((each, kind, ""))) for each in resolved.names for kind in kinds)
    tests = (sql("starts_with({pipeline}, {name})", pipeline=pipeline, name=name) for name in names)
    return sql("({tests})", tests=joined(" OR ", tests))


def find_tries(session: Session, resolved: Resolved) -> None:
    """Find what `try` and evaluations bought. Reads `work.rung_settings`, the ledger. Writes `work.tries`."""
    parts = {"requests": Sql("ledger.requests"), "which": bought_requests(resolved), "of_other_row": Sql("false")}
    session.execute(query("tries", answers=query("answers_of_rungs", **parts)))


def find_matches(session: Session, resolved: Resolved, redo_seq: int, *, by_every_recipe: bool) -> None:
    """Find the stored answers to the rendered requests, whoever asked them, but none from before an order to redo.

    `redo_seq` is the commit of the newest order. `by_every_recipe`: fingerprints of older recipes are looked for too.
    Reads `work.candidates`, `work.rendered`, `work.tries`, `work.prints`, `work.rung_settings`, the ledger.
    Writes `work.matches`, and adds to `work.tries`.
    """
    pipelines = quote_list(resolved.names)
    requests, recorded = Sql("ledger.requests"), Sql("ledger.decisions")
    if by_every_recipe:
        requests = sql("({requests})", requests=query("requests_by_todays_recipe"))
        recorded = sql("({decisions})", decisions=query("decisions_by_todays_recipe"))
    if not resolved.file.evaluates:  # an evaluation has looked for all answers of its pipeline
        which = sql(
            "q.leads AND q.pipeline IN ({names}) AND q.fingerprint IN (SELECT fingerprint FROM work.rendered)",
            names=pipelines,
        )
        answers = query("answers_of_rungs", requests=requests, which=which, of_other_row=Sql("true"))
        session.execute(query("other_answers", answers=answers))
    session.execute(query("matches", pipelines=pipelines, recorded=recorded), {"redo_seq": redo_seq})


def choose_matches(connection: Connection) -> None:
    """Leave one stored answer to each key, a valid one where there is one.

    Reads `work.matches`, `work.validity`. Writes `work.matches`, `work.validity`, `work.documents_of_validity`.
    """
    if connection.execute(query("has_several_matches")).fetchone() == (True,):
        connection.execute(query("choose_matches"))


def rows_go_up(connection: Connection) -> bool:
    """Return whether rows go up from a stored answer whose request is rendered for another rung, or not at all.

    Which rows go up is known once stored answers are validated: a row takes the answer to its question, whichever row
    it was given to.
    Reads `work.matches`, `work.validity`, `work.candidates`, `work.next_rungs`, `work.rendered`.
    Writes `work.going_up`.
    """
    connection.execute(query("going_up", continues=CONTINUES))
    return connection.execute(query("asked_otherwise")).fetchone() == (True,)
