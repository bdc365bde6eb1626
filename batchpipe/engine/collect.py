"""Collecting an ended batch: raw file first, checked whole, judged, and recorded in one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from batchpipe.engine.estimate import PriceBook
from batchpipe.engine.facts import OpenBatch, add_event
from batchpipe.engine.judge import Judge, judge_answers, validate_documents
from batchpipe.engine.output import merge_output
from batchpipe.engine.raw import RawFolder, open_results, saving
from batchpipe.engine.resolve import Resolved, judge_of_policy
from batchpipe.engine.submit import submitted_facts
from batchpipe.ladder import Ladder, Standing, decide
from batchpipe.pricing import prices_table
from batchpipe.providers import BatchState, Provider
from batchpipe.sql import quote_list
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query

DOWNLOADS = 3
MIN_OBJECT_BYTES = 16_777_216
MAX_KEPT_LINE = 4_000

OUTCOME_WORDS = {
    "refused": "the model refused",
    "truncated": "the answer was cut off at max_tokens",
    "context_window": "the context window was exceeded",
    "expired": "the batch expired before the request was processed",
    "missing": "the results had no line for it",
    "unknown": "the result is of an unknown kind",
    "unaccepted": "`accept` does not hold for the answer",
}

# Token prices have 15 places, a line's factor six: the product is rounded back to 15 places.
_COST = (
    "((({p}.input_usd * s.uncached::DECIMAL(18, 0) + {p}.cache_write_5m_usd * s.write_5m::DECIMAL(18, 0) "
    "+ {p}.cache_write_1h_usd * s.write_1h::DECIMAL(18, 0) + {p}.cache_read_usd * s.reads::DECIMAL(18, 0) "
    "+ {p}.output_usd * s.written::DECIMAL(18, 0))::DECIMAL(28, 15) * s.price_factor::DECIMAL(9, 6))::DECIMAL(38, 15) "
    "+ {p}.web_search_usd * s.searches::DECIMAL(18, 0))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a batch came to. `stop` is set where nothing that this run sends will help: the provider's words."""

    accepted: int
    failed: int
    due_again: int
    canceled: int
    warnings: Sequence[str]
    stop: str | None
    foreign: bool = False
    cost_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Collects batches of one pipeline. `poll_interval` (seconds) is the first pause before a transient retry.

    `rebuilding` takes what the raw folder holds and asks nobody; the database's clock then gives the time at which
    the results came.
    """

    resolved: Resolved
    database: Database
    work: Work
    raw: RawFolder
    provider: Callable[[], Provider]
    prices: PriceBook
    run_id: str
    poll_interval: float
    rebuilding: bool = False

    def collect(self, batch: OpenBatch, state: BatchState) -> Collected:
        """Download, check, judge and record `batch`; collecting twice changes nothing.

        Raises what the provider's `collect` raises. A batch none of whose lines is ours comes back as foreign.
        """
        faults = self._read_checked(batch, 1 if self.rebuilding or state.archived else DOWNLOADS)
        if faults is None:
            return Collected(accepted=0, failed=0, due_again=0, canceled=0, warnings=(), stop=None, foreign=True)
        if not self.rebuilding:
            self.raw.note(batch.chunk_id, "batch_ended", ended_facts(state), self.database.clock())
        self._judge()
        self._price(state.created_at.date())
        collected = self._record(batch, state, faults)
        self.raw.compress(batch.chunk_id)
        return collected

    def tidy(self) -> None:
        """Compress what a killed process left plain after its lines were in the database."""
        left = self.raw.uncompressed()
        if left:
            with self.database.reading(self.work) as session:
                done = session.rows(query("collected_chunks"), {"chunk_ids": left})
            for (chunk_id,) in done:
                self.raw.compress(chunk_id)

    def save(self, batch: OpenBatch) -> None:
        """Keep the raw results of `batch`, where they are not kept yet; raises what the provider's `collect` raises."""
        if self.raw.results(batch.chunk_id) is None:
            self._download(batch)

    def _download(self, batch: OpenBatch) -> None:
        assert batch.batch_id is not None
        path = self.raw.download(batch.chunk_id)
        with saving(path):
            self.provider().collect(batch.batch_id, path)

    def record_answer(self, chunk_id: str, path: Path) -> None:
        """Record the result in the file `path` of a request that was answered at once; it decides nothing."""
        with self.database.reading(self.work) as session:
            session.execute(query("sent"), {"chunk_id": chunk_id})
        self._read(path)
        self.work.connection.execute(query("received"))
        self._judge()
        self._price(self.database.clock().date())
        with self.database.writing(self.work, self.run_id) as session:
            self._insert_results(session, chunk_id, None, session.now)

    def _read_checked(self, batch: OpenBatch, looks: int) -> dict[str, int] | None:
        """Read the raw file, downloading it up to three times until it is what was sent; None: it is foreign."""
        with self.database.reading(self.work) as session:
            session.execute(query("sent"), {"chunk_id": batch.chunk_id})
        faults: dict[str, int] = {}
        for attempt in range(looks):
            path = self.raw.results(batch.chunk_id)
            if attempt or path is None:
                self._download(batch)
                path = self.raw.download(batch.chunk_id)
            self._read(path)
            connection = self.work.connection
            cursor = connection.execute(query("line_faults"))
            names = [each[0] for each in cursor.description or ()]
            row = cursor.fetchone()
            assert row is not None
            faults = dict(zip(names, row, strict=True))
            if not any(faults.values()):
                break
        ours = self.work.connection.execute(
            "SELECT count(*) FROM work.lines WHERE custom_id IN (SELECT custom_id FROM work.sent)"
        ).fetchone()
        if faults["strange"] and ours == (0,):
            if not self.rebuilding:
                self.raw.download(batch.chunk_id).unlink()
            return None
        self.work.connection.execute(query("received"))
        return faults

    def _read(self, path: Path) -> None:
        with open_results(path) as file:
            longest = max((len(line) for line in file), default=0)
        parameters = {"path": str(path), "maximum_object_size": max(MIN_OBJECT_BYTES, 2 * longest)}
        statement = f"CREATE OR REPLACE TABLE work.lines AS {self.resolved.rules.lines_sql()}"
        self.work.connection.execute(statement, parameters)

    def _judge(self) -> None:
        """`work.all_judged` and `work.all_documents`: each request by the policy it was sent under."""
        connection = self.work.connection
        connection.execute(
            "CREATE OR REPLACE TABLE work.all_judged "
            "(key_id UHUGEINT, custom_id VARCHAR, valid BOOLEAN, accepts BOOLEAN, error VARCHAR)"
        )
        connection.execute("CREATE OR REPLACE TABLE work.all_documents (custom_id VARCHAR, output JSON, error VARCHAR)")
        policies = connection.execute(
            "SELECT policy_hash::VARCHAR, any_value(prompt_version)::VARCHAR FROM work.sent GROUP BY policy_hash"
        ).fetchall()
        for policy_hash, prompt_version in policies:
            judge = self._judge_for(policy_hash, prompt_version)
            connection.execute(query("answers_received"), {"policy_hash": policy_hash})
            connection.execute(query("sent_under_policy"), {"policy_hash": policy_hash})
            validate_documents(connection, judge, "work.answers")
            judge_answers(connection, judge, "work.to_judge")
            connection.execute("INSERT INTO work.all_judged SELECT * FROM work.judged")
            connection.execute(
                "INSERT INTO work.all_documents SELECT * FROM work.documents "
                "WHERE custom_id NOT IN (SELECT custom_id FROM work.all_documents)"
            )

    def _judge_for(self, policy_hash: str, prompt_version: str) -> Judge:
        """Today's judge for requests of today's prompt version, the recorded one for older ones."""
        if policy_hash == self.resolved.policy_hash:
            return self.resolved.judge
        with self.database.reading(self.work) as session:
            found = session.rows(query("recorded_policy"), {"policy_hash": policy_hash})
        policy = json.loads(found[0][0])
        recorded = judge_of_policy(policy, self.work.connection)
        today = self.resolved.judge
        at_hand = {name for name, _ in recorded.input_columns}
        conditions = [*today.checks.values(), *(each for each in today.accepts if each)]
        if prompt_version == self.resolved.version.prompt_version and all(c.inputs <= at_hand for c in conditions):
            return replace(today, input_columns=recorded.input_columns)
        return recorded

    def _price(self, day: date) -> None:
        """`work.prices`: the unit prices of the models that answered, on the day the batch was made."""
        connection = self.work.connection
        models = [
            (self.resolved.rules.name, model)
            for (model,) in connection.execute(
                "SELECT DISTINCT model FROM work.received WHERE model IS NOT NULL"
            ).fetchall()
        ]
        rows = prices_table(models, [day], file=self.prices.file, price_factor=self.prices.factor)
        money = "DECIMAL(20, 15)"
        connection.execute(
            "CREATE OR REPLACE TABLE work.prices (provider VARCHAR, model VARCHAR, tier VARCHAR, from_day DATE, "
            f"above_input_tokens BIGINT, input_usd {money}, cache_write_5m_usd {money}, cache_write_1h_usd {money}, "
            f"cache_read_usd {money}, output_usd {money}, web_search_usd {money}, source VARCHAR, exact BOOLEAN)"
        )
        for row in rows:
            connection.execute(f"INSERT INTO work.prices VALUES ({', '.join('?' * 13)})", list(row))

    def _record(self, batch: OpenBatch, state: BatchState, faults: dict[str, int]) -> Collected:
        connection = self.work.connection
        uniform = connection.execute(query("uniform_error")).fetchone()
        account = connection.execute(query("account_error")).fetchone()
        connection.execute(query("outcomes"), {"uniform": uniform is not None})
        if self.rebuilding:
            self._forget_judged_since()
        self._decide()
        warnings = self._warnings(faults)
        with self.database.writing(self.work, self.run_id) as session:
            if session.one(query("is_collected"), {"chunk_id": batch.chunk_id})[0]:
                return Collected(accepted=0, failed=0, due_again=0, canceled=0, warnings=(), stop=None)
            self._insert(session, batch, state)
            if batch.state == "presumed":
                self._event(session, batch, "chunk_adopted", submitted_facts(state))
            counts = dict(session.rows(query("states_of_commit"), {"seq": session.seq}))
            canceled = session.one("SELECT count(*) FROM work.received WHERE outcome = 'canceled'")[0]
            cost = session.one(query("cost_of_commit"), {"seq": session.seq})[0]
            stop = _stop_words(uniform, account)
            self._event(session, batch, "batch_ended", ended_facts(state))
            self._event(session, batch, "batch_collected", {"states": counts, "faults": faults, "stop": stop})
            self._note_unknown(session, batch)
            merge_output(session, self.resolved, query("accepted_in_commit", seq=str(session.seq)))
        return Collected(
            accepted=counts.get("accepted", 0),
            failed=counts.get("failed", 0),
            due_again=counts.get("retry", 0) + counts.get("escalated", 0),
            canceled=canceled,
            warnings=warnings,
            stop=stop,
            cost_usd=cost,
        )

    def _forget_judged_since(self) -> None:
        """A row that was decided after these results came keeps its later standing."""
        statement = query("forget_judged_since", pipelines=quote_list(self.resolved.names))
        with self.database.reading(self.work) as session:
            session.execute(statement, {"moment": session.now})

    def _insert(self, session: Session, batch: OpenBatch, state: BatchState) -> None:
        self._insert_results(session, batch.chunk_id, batch.batch_id, state.ended_at or session.now)
        words = " ".join(f"WHEN '{name}' THEN '{text}'" for name, text in OUTCOME_WORDS.items())
        session.execute(
            query(
                "insert_decisions",
                outcome_words=f"CASE o.judged {words} END",
                pipelines=quote_list(self.resolved.names),
            ),
            self._stamp(session) | {"poll_interval": self.poll_interval},
        )

    def _insert_results(self, session: Session, chunk_id: str, batch_id: str | None, completed_at: datetime) -> None:
        session.execute(query("insert_prices"), {"now": session.now, "seq": session.seq})
        session.execute(
            query("insert_results", cost=_COST.format(p="b"), realtime=_COST.format(p="n")),
            self._stamp(session) | {"chunk_id": chunk_id, "batch_id": batch_id, "completed_at": completed_at},
        )

    def _stamp(self, session: Session) -> dict[str, Any]:
        return {"pipeline": self.resolved.name, "run_id": self.run_id, "now": session.now, "seq": session.seq}

    def _decide(self) -> None:
        """`work.verdicts`: the ladder's verdict on each distinct outcome and standing of this batch."""
        connection = self.work.connection
        rungs, retry = self.resolved.rungs, self.resolved.file.pipeline.retry
        ladder = Ladder(
            attempts=retry.attempts,
            transient=retry.transient,
            max_tokens=tuple(each.max_tokens for each in rungs),
            caps=tuple(self.resolved.rules.max_output_tokens(each.model) for each in rungs),
        )
        connection.execute(
            "CREATE OR REPLACE TABLE work.verdicts (judged VARCHAR, of_rung SMALLINT, of_attempt SMALLINT, "
            "of_transients SMALLINT, of_max_tokens INTEGER, rungs UINTEGER, has_earlier BOOLEAN, state VARCHAR, "
            "rung SMALLINT, attempts SMALLINT, transients SMALLINT, next_max_tokens INTEGER, answer VARCHAR, "
            "review BOOLEAN, pause_doublings INTEGER)"
        )
        for row in connection.execute(query("standings")).fetchall():
            judged, rung, attempt, transients, max_tokens, mask, has_earlier = row
            standing = Standing(
                rung=rung,
                attempt=attempt,
                transients=transients,
                max_tokens=max_tokens,
                rungs=mask,
                has_earlier_answer=has_earlier,
            )
            verdict = decide(judged, standing, ladder)
            values = [
                *row,
                verdict.state,
                verdict.rung,
                verdict.attempts,
                verdict.transients,
                verdict.max_tokens,
                verdict.answer,
                verdict.review,
                verdict.pause_doublings,
            ]
            connection.execute(f"INSERT INTO work.verdicts VALUES ({', '.join('?' * 15)})", values)

    def _note_unknown(self, session: Session, batch: OpenBatch) -> None:
        """One event for the results of a type or shape that the protocol does not have, with one of them."""
        count, custom_id, line = session.one(query("unknown_results"))
        if count:
            data = {"count": count, "custom_id": custom_id, "line": (line or "")[:MAX_KEPT_LINE]}
            self._event(session, batch, "results_unknown", data)

    def _warnings(self, faults: dict[str, int]) -> list[str]:
        connection = self.work.connection
        warnings = [f"{count} {name} lines in the results" for name, count in faults.items() if count]
        models = [model for (model,) in connection.execute(query("unpriced")).fetchall()]
        if models:
            warnings.append(f"no price is known for {', '.join(models)}: set `prices`; its cost is left open")
        other = connection.execute(query("not_batch_tier")).fetchone()
        if other and other[0]:
            warnings.append(f"{other[0]:,} results were not processed at the batch tier: the discount was not applied")
        return warnings

    def _event(self, session: Session, batch: OpenBatch, kind: str, data: dict[str, Any]) -> None:
        add_event(session, self.resolved.name, kind, data, run_id=self.run_id, chunk_id=batch.chunk_id)


def _stop_words(uniform: tuple[Any, ...] | None, account: tuple[Any, ...] | None) -> str | None:
    if account is not None:
        return f"{account[1]:,} requests were turned away: {account[0]}"
    if uniform is not None:
        return f"all {uniform[1]:,} requests of a batch failed with the same error: {uniform[0]}"
    return None


def ended_facts(state: BatchState) -> dict[str, Any]:
    """What is recorded of a batch whose results are kept."""
    return {"counts": state.counts, "ended_at": state.ended_at, "batch_id": state.batch_id}
