"""The diff: which rows are due and why, computed in SQL; only rows that may be due are rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from batchpipe.decide.caching import count_primes
from batchpipe.decide.chunking import Chunk, ChunkLimits, partition
from batchpipe.engine.answers.validation import fill_answers, judge_answers, validate_documents
from batchpipe.engine.cost.estimate import (
    OVERHEAD_TOKENS,
    Estimate,
    PriceBook,
    estimate,
    fill_ladder,
    fill_rung_settings,
)
from batchpipe.engine.ledger.events import standing_reviews
from batchpipe.engine.plan.body_fit import fit
from batchpipe.engine.plan.cache_marks import CacheMarks, choose_cache_marks, price_queue
from batchpipe.engine.plan.orders import Order, fill_keep, fill_redo, order_condition, output_relation
from batchpipe.engine.plan.pilot_sample import HeldBack, PilotSample, fill_pilot_sample
from batchpipe.engine.plan.render import render_rows
from batchpipe.engine.resolved.bind import rungs_sql
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, input_hash_sql, texts_sql
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query

DUE_REASONS = (
    "redo",
    "new",
    "input_changed",
    "schema_changed",
    "prompt_changed",
    "check_failed",
    "escalated",
    "retry",
)
FRESH_REASONS = tuple(reason for reason in DUE_REASONS if reason not in ("escalated", "retry"))
REASONS = ("pending", *DUE_REASONS, "carried_over", "kept", "failed", "unchanged")
STAYS = (
    "(c.known AND c.same_input AND (c.same_version OR c.same_visible) AND c.redo IS NULL AND NOT c.never_sent "
    "AND c.state IN ('accepted', 'kept', 'failed'))"
)
CONTINUES = (
    "(c.known AND c.redo IS NULL AND c.state IN ('retry', 'escalated') AND (c.rungs >> (c.rung - 1)::UINTEGER) & 1 = 1)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What a call asks of the plan.

    `since` restricts it to rows decided after that commit: a later round of a run. With `unanswered` rows that
    another prompt version has answered are left out, and these keys.
    """

    limit: int | None = None
    where: str | None = None
    no_new: bool = False
    since: int | None = None
    sample: PilotSample | None = None
    unanswered: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Rows by reason, and the chunks that a run would send. The rows are in `work.plan` and `work.leading`."""

    rows_by_reason: Mapping[str, int]
    removed: int
    known: int
    vanished: int
    appeared: int
    requests: int
    followers: int
    deferred_until: datetime | None  # when the next row that pauses after a transient error is due
    chunks: Sequence[Chunk]
    estimate: Estimate
    held: HeldBack | None  # what a pilot keeps back
    rendered: Path
    snapshot: Snapshot
    seq: int

    @property
    def input(self) -> int:
        return sum(self.rows_by_reason.values())

    @property
    def due(self) -> int:
        return sum(self.rows_by_reason[reason] for reason in DUE_REASONS)

    @property
    def batches(self) -> int:
        """How many are sent, with those of one request that prime a cache."""
        return len(self.chunks) + count_primes(self.estimate.caching)

    @property
    def keys_changed(self) -> bool:
        """More than half of the known keys vanished and as many new ones appeared."""
        return self.vanished * 2 > self.known and self.appeared >= self.vanished


@dataclass(slots=True, kw_only=True)
class Planner:
    """Plans one pipeline. Each phase that needs the ledger opens it for a moment; rendering and judging do not."""

    resolved: Resolved
    database: Database
    work: Work
    folder: Path
    prices: PriceBook
    rounds: int = 0
    planned_seq: int = 0
    cache_marks: CacheMarks = field(default_factory=CacheMarks)
    _column_lists: list[list[str]] = field(default_factory=list)

    def plan(self, snapshot: Snapshot, orders: Sequence[Order], options: PlanOptions) -> Plan:
        """Rows by reason and the requests that are due, under `orders`."""
        self.rounds += 1
        self.work.make_room_for_input(snapshot.largest_group_bytes(self.work.connection))
        rendered = self.folder / f"rendered-{self.rounds}.parquet"
        with self.database.reading(self.work) as session:
            self.compare_rows(session, snapshot, orders, options)
            seq = session.seq
            self.cache_marks = choose_cache_marks(session, self.resolved, self.prices)
            session.execute(query("to_judge", stays=STAYS, **self._judging(snapshot)))
            fill_answers(session, "work.to_judge")
        self._judge("work.rejudged")
        connection = self.work.connection
        connection.execute(query("to_render", stays=STAYS, continues=CONTINUES))
        render_rows(connection, self.resolved, snapshot, rendered, self.cache_marks)
        with self.database.reading(self.work) as session:
            redo = max((each.seq for each in orders if each.kind != "keep"), default=0)
            session.execute(query("matches", pipelines=self._pipelines), {"redo_seq": redo})
            session.execute(query("matches_to_judge", **self._judging(snapshot)))
            fill_answers(session, "work.to_judge")
            fill_ladder(session, self.resolved, self.prices, self.cache_marks.by_rung)
        self._judge("work.judged")
        connection.execute(query("plan", stays=STAYS, continues=CONTINUES))
        connection.execute(query("drop_compared_parts"))
        if options.since is None:
            connection.execute(
                "CREATE OR REPLACE TABLE work.touched AS SELECT key_id FROM work.compared WHERE word <> 'not_selected'"
            )
            connection.execute(
                "CREATE OR REPLACE TABLE work.due_words AS "
                f"SELECT key_id FROM work.plan WHERE word IN ({quote_list(DUE_REASONS)})"
            )
            self.planned_seq = seq
        self._fill_queue(options)
        held = self._hold_back(snapshot, options)
        return self._result(snapshot, rendered, seq, held)

    @property
    def _bought(self) -> str:
        """SQL: requests whose answers are taken wherever a rung asks the same. For an evaluation it is every one of
        the pipeline and its evaluations, else those of `try`."""
        evaluated = self.resolved.file.evaluates
        if evaluated:
            return f"q.leads AND split_part(q.pipeline, ':', 1) IN ({quote_list(evaluated)})"
        return f"q.reason = 'try' AND q.pipeline IN ({self._pipelines})"

    @property
    def _pipelines(self) -> str:
        return quote_list(self.resolved.names)

    def compare_rows(self, session: Session, snapshot: Snapshot, orders: Sequence[Order], options: PlanOptions) -> None:
        """Fill `work.compared` and `work.candidates`: what can be said of each row before anything is rendered."""
        pipelines, version = self._pipelines, self.resolved.version
        self._fill_standing(session)
        self._read_input(session, snapshot, options)
        session.execute(query("pending", pipelines=pipelines))
        fill_rung_settings(session, self.resolved)
        session.execute(query("tries", bought=self._bought))
        identities = {
            "prompt_version": version.prompt_version,
            "visible_hash": version.visible_hash,
            "schema_hash": version.schema_hash,
            "judge_hash": self.resolved.judge_hash,
        }
        session.execute(query("identities", pipelines=pipelines, column_list=self._column_list()), identities)
        keeps = any(rule is not True for rule in self.resolved.rerun.values())
        if options.where is not None or keeps or any(each.needs_output for each in orders):
            reviewed = standing_reviews(session, self.resolved.names)
            session.execute(query("present_outputs", pipelines=pipelines, reviewed=reviewed))
        if options.where is not None:
            self._select(session, snapshot, options.where)
        if options.since is None:
            session.execute("CREATE OR REPLACE TABLE work.all_keys AS SELECT key_id, selected FROM work.input")
        fill_redo(session, self.resolved, snapshot, orders)
        session.execute(query("compared", same_input=self._same_input()))
        masks = rungs_sql(self.resolved.whens)
        used = {name for when in self.resolved.whens if when for name in when.inputs}
        join = f"JOIN {snapshot.typed(used)} s2 ON s2.position = c.position" if used else ""
        session.execute(query("candidates", pipelines=pipelines, rungs=masks, snapshot_join=join))
        self._fill_next_rungs(session)
        fill_keep(session, self.resolved, snapshot, orders)

    def _fill_standing(self, session: Session) -> None:
        """`work.standing`: the newest decision of each key, to be read in sessions.

        Where the last generation decided no key twice its decisions are taken as they are: grouping them costs more
        than all the rest.
        """
        pipelines = self._pipelines
        among = {"pipelines": pipelines, "generation": str(session.one(query("generation", pipelines=pipelines))[0])}
        again = session.one(query("any_decided_again", **among))[0]
        if again:
            session.execute(query("decided_again", **among))
        session.execute(query("superseded", **among))
        session.execute(query("decided_before", **among))
        newest = "LEFT JOIN work.decided_again a ON a.key_id = d.key_id" if again else ""
        only_newest = "AND (a.key_id IS NULL OR a.seq = d.seq)" if again else ""
        view = query("standing", seq=str(session.seq), newest=newest, only_newest=only_newest, **among)
        session.execute(view)
        session.execute(query("standing_policies"))

    def _read_input(self, session: Session, snapshot: Snapshot, options: PlanOptions) -> None:
        """`work.input` with one hash per list of columns that a standing decision was made over."""
        present = {each.name: each for each in self.resolved.input_columns}
        lists = [[each.name for each in self.resolved.hash_columns]]
        for columns, _ in session.rows(query("past_columns", pipelines=self._pipelines)):
            if columns not in lists and all(name in present for name in columns):
                lists.append(columns)
        self._column_lists = lists
        hashes = []
        for number, names in enumerate(lists):
            hashes.append(f"{input_hash_sql(present[name] for name in names)} AS {_hash_name(number)}")
        session.execute(query("input", hashes=", ".join(hashes), snapshot=snapshot.relation))
        if options.unanswered is not None:
            session.execute(
                "DELETE FROM work.input WHERE key_id IN (SELECT key_id FROM work.standing "
                "WHERE NOT (prompt_version = $1::UHUGEINT AND state IN ('retry', 'escalated'))) "
                "OR key IN (SELECT unnest($2::VARCHAR[]))",
                [self.resolved.version.prompt_version, list(options.unanswered)],
            )
        if options.since is not None:
            session.execute(
                "DELETE FROM work.input WHERE key_id NOT IN (SELECT key_id FROM work.standing "
                "WHERE state IN ('retry', 'escalated') AND (seq > $1 OR not_before IS NOT NULL))",
                [options.since],
            )

    def _column_list(self) -> str:
        """SQL: the number of the list of columns that a policy's input hashes are over; NULL where some are gone."""
        lists = enumerate(self._column_lists)
        cases = [f"WHEN p.columns = [{quote_list(names)}]::VARCHAR[] THEN {number}" for number, names in lists]
        return f"CASE {' '.join(cases)} END"

    def _same_input(self) -> str:
        """SQL: whether the row's input is the one decided on, over the columns of that decision; NULL if unknown."""
        numbers = range(len(self._column_lists))
        cases = [f"WHEN v.column_list = {number} THEN i.{_hash_name(number)} = s.input_hash" for number in numbers]
        return f"CASE {' '.join(cases)} END"

    def _select(self, session: Session, snapshot: Snapshot, where: str) -> None:
        condition = order_condition(self.resolved, session.connection, where, "--where")
        session.execute(
            "UPDATE work.input SET selected = key_id IN "
            f"(SELECT key_id FROM ({output_relation(self.resolved, snapshot, condition)}) WHERE {condition.truth})"
        )

    def _judging(self, snapshot: Snapshot) -> dict[str, str]:
        return {"values": texts_sql(self.resolved.hash_columns), "snapshot": snapshot.relation}

    def _judge(self, table: str) -> None:
        """Judge `work.to_judge` by `work.answers` under today's policy into `table`."""
        connection = self.work.connection
        validate_documents(self.work, self.resolved.judge, "work.answers")
        judge_answers(self.work, self.resolved.judge, "work.to_judge")
        if table != "work.judged":
            connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM work.judged")
        name = table.replace("work.", "work.documents_of_")
        connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM work.documents WHERE output IS NOT NULL")

    def _fill_next_rungs(self, session: Session) -> None:
        """`work.next_rungs`: for each mask of usable rungs, the rung above each rung (0: the first)."""
        masks = [mask for (mask,) in session.rows("SELECT DISTINCT rungs FROM work.candidates")]
        count = len(self.resolved.rungs)
        session.execute("CREATE OR REPLACE TABLE work.next_rungs (rungs UINTEGER, rung SMALLINT, next_rung SMALLINT)")
        for mask in masks:
            for rung in range(count + 1):
                above = next((each for each in range(rung + 1, count + 1) if mask >> (each - 1) & 1), None)
                session.execute("INSERT INTO work.next_rungs VALUES ($1, $2, $3)", [mask, rung, above])

    def _fill_queue(self, options: PlanOptions, chosen: str = "") -> None:
        """`work.due`, `work.leading` and `work.queue`: what may be sent now, of it those that ask first, in order."""
        words = ("escalated", "retry") if options.no_new else DUE_REASONS
        limit = f"ORDER BY key_id LIMIT {int(options.limit)}" if options.limit is not None else ""
        parameters = {"now": self.database.clock(), "overhead_bytes": OVERHEAD_TOKENS}
        self.work.connection.execute(query("due", due_words=quote_list(words), chosen=chosen, limit=limit), parameters)
        with self.database.reading(self.work) as session:
            session.execute(query("shared_requests", pipelines=self._pipelines))
        self.work.connection.execute(query("leading"))
        self.work.connection.execute(query("number_requests"))

    def _hold_back(self, snapshot: Snapshot, options: PlanOptions) -> HeldBack | None:
        """While a pilot is not approved: `work.queue` with no more than what is left of its sample."""
        sample = options.sample
        if sample is None:
            return None
        connection = self.work.connection
        fresh, everything = connection.execute(
            f"SELECT count(*) FILTER (reason IN ({quote_list(FRESH_REASONS)})), count(*) FROM work.due"
        ).fetchone() or (0, 0)
        if not sample.begun and fresh < sample.at_least:
            return None
        whole = self._estimate(self._chunks())
        requests = self._count("SELECT count(*) FROM work.queue")
        words = quote_list(FRESH_REASONS)
        fill_pilot_sample(self.work, sample, snapshot, words, 0 if options.no_new else sample.rows)
        self._fill_queue(options, f"AND word IN ({words}) AND key_id IN (SELECT key_id FROM work.sample)")
        rows = self._count("SELECT count(*) FROM work.due")
        gold = self._count("SELECT count(*) FROM work.due SEMI JOIN work.known_keys USING (key_id)")
        gold_rows = gold if sample.gold_first else None
        return HeldBack(rows=rows, gold=gold_rows, due=everything, requests=requests, whole=whole)

    def rest(self, options: PlanOptions, without: str) -> tuple[int, Estimate]:
        """The requests of the last plan that would still be sent, by today's estimate, less the keys in `without`."""
        with self.database.reading(self.work) as session:
            fill_ladder(session, self.resolved, self.prices, self.cache_marks.by_rung)
        self._fill_queue(options, f"AND key_id NOT IN (SELECT key_id FROM {without})")
        return self._count("SELECT count(*) FROM work.queue"), self._estimate(self._chunks())

    def forget(self) -> None:
        """Drop what the last plan was made of: what is due can be sent still, but no longer estimated or held back."""
        self.work.connection.execute(query("drop_plan"))

    def _session(self, seq: int = 0) -> Session:
        return Session(work=self.work, seq=seq, now=self.database.clock())

    def _chunks(self) -> tuple[Chunk, ...]:
        total = self._count("SELECT count(*) FROM work.queue")
        return tuple(partition(partial(fit, self.work.connection), self.limits(), total=total))

    def _estimate(self, chunks: Sequence[Chunk], *, once: bool = False) -> Estimate:
        session = self._session()
        caching = price_queue(session, self.resolved, self.cache_marks)
        return estimate(session, self.resolved, chunks, caching=caching, once=once)

    def _count(self, statement: str) -> int:
        row = self.work.connection.execute(statement).fetchone()
        return int(row[0]) if row else 0

    def number_sends(self) -> None:
        """`work.sends`: how many requests were ever prepared for each key that is due."""
        with self.database.reading(self.work) as session:
            session.execute(f"CREATE OR REPLACE TABLE work.sends AS {query('sends', pipelines=self._pipelines)}")

    def _result(self, snapshot: Snapshot, rendered: Path, seq: int, held: HeldBack | None) -> Plan:
        session, chunks = self._session(seq), self._chunks()
        rows_by_reason = dict.fromkeys(REASONS, 0) | dict(session.rows(query("word_counts")))
        known, vanished, appeared, removed = session.one(query("vanished"))
        requests, followers = session.one(
            "SELECT count(*) FILTER (leads), count(*) FILTER (in_flight_custom_id IS NOT NULL) FROM work.leading"
        )
        return Plan(
            rows_by_reason=rows_by_reason,
            removed=removed,
            known=known,
            vanished=vanished,
            appeared=appeared,
            requests=requests,
            followers=followers,
            deferred_until=session.one(query("deferred_until"), {"now": session.now})[0],
            chunks=chunks,
            estimate=self._estimate(chunks, once=held is not None),
            held=held,
            rendered=rendered,
            snapshot=snapshot,
            seq=seq,
        )

    def limits(self) -> ChunkLimits:
        """The pipeline's limits of a chunk, within the provider's own."""
        chunking, limits = self.resolved.file.pipeline.chunking, self.resolved.rules.limits
        return ChunkLimits(
            max_requests=min(chunking.max_requests, limits.max_requests),
            max_bytes=min(chunking.max_bytes, limits.max_bytes),
            max_in_flight=chunking.max_in_flight,
        )


def _hash_name(number: int) -> str:
    """The column of `work.input` with the hashes over a list of columns; the first is today's."""
    return f"input_hash_{number}" if number else "input_hash"
