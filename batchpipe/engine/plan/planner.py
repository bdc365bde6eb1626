"""Planning: which rows are due and why, computed in SQL. Only rows that may be due are rendered.

`Planner.plan` goes through phases, each a method. The docstring of each says which working tables it reads and writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from batchpipe.common.progress import Phase
from batchpipe.decide.chunking import Chunk
from batchpipe.engine.answers.validation import fill_answers, validate_answers, validate_documents
from batchpipe.engine.cost.budget import room_of_one
from batchpipe.engine.cost.estimate import OVERHEAD_TOKENS, Estimate, estimate
from batchpipe.engine.cost.ladder import PriceBook, fill_ladder
from batchpipe.engine.local.plan_part import Hints, LocalRows
from batchpipe.engine.media.figures import media_plan
from batchpipe.engine.media.shared import find_shared_files
from batchpipe.engine.plan.cache_marks import CacheMarks, choose_cache_marks, price_due_requests
from batchpipe.engine.plan.chunks import cut, number_requests
from batchpipe.engine.plan.first_plan import asked_in_realtime, keep_first_look
from batchpipe.engine.plan.matches import CONTINUES, bought_requests, choose_matches, find_matches, rows_go_up
from batchpipe.engine.plan.orders import Order, newest_redo
from batchpipe.engine.plan.overtaken import leave_to_others
from batchpipe.engine.plan.pilot_sample import HeldBack, fill_pilot_sample
from batchpipe.engine.plan.plan import DUE_REASONS, FRESH_REASONS, Plan, PlanOptions
from batchpipe.engine.plan.render import render_rows
from batchpipe.engine.plan.row_comparison import (
    STAYS,
    compare_new_rows,
    compare_rows,
    count_rows,
    fill_candidates,
    fill_nothing_due,
    is_new,
    nothing_may_be_due,
)
from batchpipe.engine.plan.too_long import too_long
from batchpipe.engine.resolved.recorded_recipes import older_recipes
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, texts_sql
from batchpipe.engine.votes.parts import (
    fill_known_votes,
    fill_part_standings,
    find_stored_parts,
    known_votes,
    vote_on_plan,
)
from batchpipe.engine.votes.slots import slots
from batchpipe.sql.quoting import Sql, number_sql, quote_list, sql
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query

EVERY_ROW = Sql("")


@dataclass(slots=True, kw_only=True)
class Planner:
    """Plans one pipeline. Each phase that needs the ledger opens it for a moment; to render and to validate does not.

    `folder` gets the rendered requests. `planned_seq` is the commit that the last plan over all rows was made at.
    `linked` are the pipelines that renames link to this one, in either direction. `leaves_out`: the rows of
    `work.left_out` are not sent. `watch` is told how far it is. `local` chooses the rows of the local rung, and
    `hints` says what templates ask of its model. `max_usd` bounds the call (US dollars).
    """

    resolved: Resolved
    database: Database
    work: Work
    folder: Path
    prices: PriceBook
    rounds: int = 0
    planned_seq: int = 0
    cache_marks: CacheMarks = field(default_factory=CacheMarks)
    older_recipes: tuple[int, ...] = ()
    linked: Sequence[str] = ()
    leaves_out: bool = False
    watch: Callable[[Phase], None] | None = None
    local: LocalRows | None = None
    hints: Hints | None = None
    max_usd: Decimal | None = None
    now: datetime = field(init=False)
    _started: int = field(default=0, init=False)
    _snapshot: Snapshot = field(init=False)
    _waits: str = field(default="", init=False)
    _new: bool = field(default=False, init=False)
    _idle: bool = field(default=False, init=False)

    def plan(self, snapshot: Snapshot, orders: Sequence[Order], options: PlanOptions) -> Plan:
        """Return the rows of `snapshot` by reason and the requests that are due, under `orders`.

        A plan has one time, `now`: a pause that ends while it is made is waited for.
        Leaves `work.plan`, `work.due`, `work.leading`, `work.to_send` for what records and sends them.
        """
        self.rounds += 1
        self.now, self._snapshot = self.database.clock(), snapshot
        snapshot.make_room(self.work.memory)
        rendered = self.folder / f"rendered-{self.rounds}.parquet"
        if self.watch is not None:
            self.watch(Phase(name="comparing"))
        seq = self._compare(snapshot, orders, options)
        if self._idle:
            fill_nothing_due(self.work.connection, self.resolved)
        elif self._new:
            self._plan_new(snapshot, rendered)
        else:
            self._plan_candidates(snapshot, orders, rendered)
        if self.resolved.panels:
            self._vote(snapshot, orders, seq)
        if options.since is None:
            keep_first_look(self.work.connection)
            self.planned_seq = seq
        if not self._idle:
            self._fill_due_requests(options)
        held = self._hold_back(snapshot, options)
        return self._result(snapshot, rendered, seq, held)

    def _compare(self, snapshot: Snapshot, orders: Sequence[Order], options: PlanOptions) -> int:
        """Compare the rows with the ledger, and find the answers that today's checks validate again; return the commit.

        Sets `cache_marks` and `older_recipes`. Reads `work.candidates`, the ledger.
        Writes the tables of `compare_rows`; where a row may be due, `work.to_validate`, and those of `fill_candidates`.
        """
        with self._reading() as session:
            self.cache_marks = choose_cache_marks(session, self.resolved, self.prices)
            self._new, self._idle = is_new(session, self.resolved, orders, options), False
            if self._new:
                compare_new_rows(session, self.resolved, snapshot)
                return session.seq
            compare_rows(session, self.resolved, snapshot, orders, options)
            self.older_recipes = older_recipes(session, self.resolved)
            self._idle = self.local is None and nothing_may_be_due(session.connection, self.resolved)
            if self._idle:
                return session.seq
            fill_candidates(session, self.resolved, snapshot, orders)
            fill_part_standings(session, self.resolved)
            session.execute(query("to_validate", stays=STAYS, **self._validated_inputs(snapshot)))
            fill_answers(session, Sql("work.to_validate"))
            fill_known_votes(session, self.resolved)
            return session.seq

    def _plan_candidates(self, snapshot: Snapshot, orders: Sequence[Order], rendered: Path) -> None:
        """Say why each candidate is due or not, after its request is rendered and stored answers are validated.

        Reads `work.documents`, `work.validity`, `work.going_up`.
        Writes `work.revalidated`, `work.documents_of_revalidated`, `work.documents_of_validity`, `work.plan`, and what
        the phases write.
        """
        self._validate(query("revalidated"))
        self._render(snapshot, rendered)
        self._match(snapshot, orders)
        self._validate(query("documents_of_validity"))
        choose_matches(self.work.connection)
        if self.resolved.height > 1 and rows_go_up(self.work.connection):
            self._render(snapshot, rendered, Sql("SELECT key_id, rung, true AS certain FROM work.going_up"))
        self._give_reasons()

    def _plan_new(self, snapshot: Snapshot, rendered: Path) -> None:
        """Plan every row of a pipeline that the ledger does not know: there are no answers to look for.

        Writes `work.plan`, `work.ladder`, `work.rendered`, `work.documents_of_revalidated`,
        `work.documents_of_validity`. Drops `work.candidates`.
        """
        self._render(snapshot, rendered)
        with self._reading() as session:
            self._fill_ladder(session)
        self.work.connection.execute(query("nothing_validated"))
        self.work.connection.execute(query("plan_of_new"))

    def _validate(self, kept: Sql) -> None:
        """Validate the answers of `work.to_validate` under today's policy; the statement `kept` keeps what came of it.

        Reads `work.to_validate`, `work.answers`.
        Writes `work.documents`, `work.validity`, and what `kept` writes: the verdicts and the valid documents.
        """
        rules, votes = self.resolved.answer_rules, known_votes(self.resolved)
        validate_documents(self.work, rules, Sql("work.answers"))
        validate_answers(self.work, rules, Sql("work.to_validate"), votes=votes)
        self.work.connection.execute(kept)

    def _render(self, snapshot: Snapshot, rendered: Path, up: Sql | None = None) -> None:
        """Render the requests of the rows that may be due into the file `rendered`; `up` is SQL for those that go up.

        Reads `work.candidates`, `work.revalidated`, `work.tries`, `work.next_rungs`.
        Writes `work.to_render`, `work.rendered`, and where older recipes have made fingerprints `work.prints`.
        """
        parts = {} if self._new else {"stays": STAYS, "continues": CONTINUES, "up": up or query("may_go_up")}
        self.work.connection.execute(query("to_render_of_new" if self._new else "to_render", **parts))
        given = self.cache_marks, self.older_recipes, self.hints, self.watch
        render_rows(self.work.connection, self.resolved, snapshot, rendered, *given)

    def _match(self, snapshot: Snapshot, orders: Sequence[Order]) -> None:
        """Find the stored answers to the rendered requests, and those of them that today's checks have to validate.

        Reads `work.candidates`, `work.rendered`, `work.tries`, `work.prints`, `work.rung_settings`, the ledger.
        Writes `work.matches`, `work.to_validate`, `work.answers`, `work.ladder`; where older recipes have made
        fingerprints, `work.candidates` and `work.tries` get today's beside them.
        """
        if self.older_recipes:
            self.work.connection.execute(query("prints_by_todays_recipe"))
        with self._reading() as session:
            find_matches(session, self.resolved, newest_redo(orders), by_every_recipe=bool(self.older_recipes))
            session.execute(query("matches_to_validate", **self._validated_inputs(snapshot)))
            fill_answers(session, Sql("work.to_validate"))
            fill_known_votes(session, self.resolved)
            self._fill_ladder(session)

    def _give_reasons(self) -> None:
        """Say of each candidate why it is due, or why it is not.

        Reads `work.candidates`, `work.rendered`, `work.matches`, `work.validity`, `work.revalidated`, `work.to_keep`.
        Writes `work.plan`. Drops `work.candidates` and `work.matches`, whose columns it has.
        """
        self.work.connection.execute(query("plan", stays=STAYS, continues=CONTINUES))
        self.work.connection.execute(query("drop_compared_parts"))

    def _vote(self, snapshot: Snapshot, orders: Sequence[Order], seq: int) -> None:
        """Cast the votes that stored answers complete. Writes the tables of `find_stored_parts` and `vote_on_plan`."""
        with self._reading() as session:
            bought = bought_requests(self.resolved)
            find_stored_parts(session, self.resolved, snapshot, DUE_REASONS, bought, newest_redo(orders))
        self._started = seq + 1  # of rows that begin on a panel: their members' answers count from this commit on
        vote_on_plan(self.work, self.resolved, snapshot, self._started, self.now)

    def _fill_due_requests(self, options: PlanOptions, chosen: Sql = EVERY_ROW) -> None:
        """Fill `work.to_send` with the requests that may be sent now, numbered in the order in which they are sent.

        `chosen` is SQL, a further condition on the rows of `work.plan`.
        Of rows that ask the same only the first is sent; the others follow it, or a request in flight.
        Reads `work.plan`, `work.left_out`, `work.rendered`, `work.prints`, `work.ladder`, `ledger.requests`,
        `ledger.batches`; of panels `work.parts`, `work.rendered_parts`, `work.part_standings`, `work.ballots`,
        `work.voters`.
        Writes `work.due`, `work.shared`, `work.leading`, `work.to_send`, `work.shared_files`.
        """
        reasons, limit = ("escalated", "retry") if options.no_new else DUE_REASONS, Sql("")
        if options.limit is not None:
            limit = sql("ORDER BY work.draw_order(key_id) LIMIT {limit}", limit=number_sql(int(options.limit)))
        if self.leaves_out:
            chosen = sql("{chosen} AND key_id NOT IN (SELECT key_id FROM work.left_out)", chosen=chosen)
        if self.resolved.panels:
            chosen = sql("{chosen} AND key_id NOT IN (SELECT key_id FROM work.voters)", chosen=chosen)
        given = {"now": self.now, "overhead_bytes": OVERHEAD_TOKENS}
        self.work.connection.execute(query("due", due_reasons=quote_list(reasons), chosen=chosen, limit=limit), given)
        if self.resolved.panels:
            self.work.connection.execute(query("due_parts"), given | {"started": self._started})
        if self.local is not None:
            self.local.choose(self.work, holds=options.sample is not None and chosen is not EVERY_ROW)
        with self._reading() as session:
            self._waits = leave_to_others(session, self.resolved, self.linked, by_every_recipe=bool(self.older_recipes))
            if self._new and is_new(session, self.resolved):
                session.execute(query("shared_among_due"))
            else:
                prints = query("every_print_of_due" if self.older_recipes else "own_prints_of_due")
                each = slots(self.resolved, "shared_requests")
                session.execute(query("shared_requests", pipelines=self._pipelines, prints=prints, **each))
            room = room_of_one(session, self.resolved.file, self.resolved.names, self.max_usd)
        self.work.connection.execute(query("leading", **slots(self.resolved, "leading")))
        number_requests(self.work.connection, self.resolved, room)
        if self.resolved.templates.media:
            find_shared_files(self.work.connection, self.resolved, self._snapshot)

    def _hold_back(self, snapshot: Snapshot, options: PlanOptions) -> HeldBack | None:
        """Hold all rows back but what is left of the pilot's sample; None where no pilot holds anything back.

        Reads `work.plan`, `work.due`, `work.to_send`, `work.ladder`.
        Writes `work.sample`, `work.keys_with_gold`, and the tables of `_fill_due_requests` anew.
        """
        sample = options.sample
        if sample is None:
            return None
        fresh_reasons = quote_list(FRESH_REASONS)
        counts = query("fresh_and_due", fresh_reasons=fresh_reasons)
        fresh, everything = self.work.connection.execute(counts).fetchone() or (0, 0)
        if not sample.begun and fresh < sample.at_least:
            return None
        whole = self._estimate(self.chunks_from(0))
        requests = self._count(Sql("SELECT count(*) FROM work.to_send"))
        fill_pilot_sample(self.work, sample, snapshot, fresh_reasons, 0 if options.no_new else sample.rows)
        self._fill_due_requests(
            options,
            sql(
                "AND reason IN ({fresh_reasons}) AND key_id IN (SELECT key_id FROM work.sample)",
                fresh_reasons=fresh_reasons,
            ),
        )
        rows = self._count(Sql("SELECT count(*) FROM work.due"))
        gold = self._count(Sql("SELECT count(*) FROM work.due SEMI JOIN work.keys_with_gold USING (key_id)"))
        gold_rows = gold if sample.gold_first else None
        return HeldBack(rows=rows, gold=gold_rows, due=everything, requests=requests, whole=whole)

    def _result(self, snapshot: Snapshot, rendered: Path, seq: int, held: HeldBack | None) -> Plan:
        """Count the rows by reason, and cut the requests into chunks with their estimate.

        Reads `work.compared`, `work.plan`, `work.input`, `work.standing_policies`, `work.leading`, `work.to_send`,
        `work.ladder`.
        """
        session, chunks = self._session(seq), self.chunks_from(0)
        rows_by_reason, known, vanished, appeared, removed = count_rows(session, new=self._new)
        requests, followers = session.one(query("count_leading"))
        asked, asked_chunks = asked_in_realtime(self.work.connection, self.resolved, chunks)
        return Plan(
            rows_by_reason=rows_by_reason,
            removed=removed,
            known=known,
            vanished=vanished,
            appeared=appeared,
            requests=requests,
            followers=followers,
            deferred_until=None if self._new else session.one(query("deferred_until"), {"now": session.now})[0],
            chunks=chunks,
            estimate=self._estimate(chunks, once=held is not None),
            held=held,
            rendered=rendered,
            snapshot=snapshot,
            seq=seq,
            too_long=too_long(session, self.resolved) if chunks else (),
            asked=asked,
            asked_chunks=asked_chunks,
            local=self.local.plan(self.work) if self.local is not None else None,
            hints=self.hints.name if self.hints is not None else None,
            media=media_plan(self.work.connection, self.resolved, snapshot) if self.resolved.templates.media else None,
            waits=self._waits,
        )

    def rest(self, options: PlanOptions, without: Sql) -> tuple[int, Estimate]:
        """Return how many requests of the last plan are still to be sent, and their estimate by today's prices.

        `without` is a table of keys that are left out.
        Reads `work.plan`, `work.rendered`, `without`.
        Writes `work.ladder`, `work.to_send`, and the other tables of `_fill_due_requests` anew.
        """
        self.now = self.database.clock()
        with self._reading() as session:
            self._fill_ladder(session)
        self._fill_due_requests(options, sql("AND key_id NOT IN (SELECT key_id FROM {without})", without=without))
        return self._count(Sql("SELECT count(*) FROM work.to_send")), self._estimate(self.chunks_from(0))

    def _fill_ladder(self, session: Session) -> None:
        """Fill `work.ladder` with the rungs, their prices and their forecasts. Writes `work.ladder`."""
        marks = self.cache_marks
        ttls = {rung: ttl for rung in range(1, len(self.resolved.rungs) + 1) if (ttl := marks.ttl(rung)) is not None}
        fill_ladder(session, self.resolved, self.prices, marks.by_rung, ttls)

    def chunks_from(self, start: int) -> tuple[Chunk, ...]:
        """Cut the requests of `work.to_send` from number `start` on into chunks.

        Reads `work.to_send`.
        """
        return cut(self.work.connection, self.resolved, start)

    def forget(self) -> None:
        """Drop the tables that the last plan was made of. Its requests can still be sent, but not estimated anew.

        Drops `work.plan`, `work.rendered`, `work.compared`, `work.input`.
        """
        self.work.connection.execute(query("drop_plan"))

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        """Open the ledger to read, at the time of the plan."""
        with self.database.reading(self.work) as session:
            yield replace(session, now=self.now)

    def number_sends(self) -> None:
        """Fill `work.sends`: how many requests were ever prepared for each key that is due.

        Reads `work.leading`, `ledger.requests`.
        """
        with self.database.reading(self.work) as session:
            # work.sends: One row is a due key, with the number of requests that were ever prepared for it.
            sends = query("sends", pipelines=self._pipelines)
            session.execute(sql("CREATE OR REPLACE TABLE work.sends AS {sends}", sends=sends))

    @property
    def _pipelines(self) -> Sql:
        return quote_list(self.resolved.names)

    def _validated_inputs(self, snapshot: Snapshot) -> dict[str, Sql]:
        """Return the SQL of the input that checks and `accept` read of a row."""
        return {"values": texts_sql(self.resolved.hash_columns), "snapshot": snapshot.relation}

    def _session(self, seq: int = 0) -> Session:
        return Session(work=self.work, seq=seq, now=self.now)

    def _estimate(self, chunks: Sequence[Chunk], *, once: bool = False) -> Estimate:
        """Estimate what the requests of `work.to_send`, sent as `chunks`, will cost. Writes `work.ladder`.

        With `once` each row is asked once: retries and escalations wait for the pilot's approval.
        """
        session = self._session()
        caching = price_due_requests(session, self.resolved, self.cache_marks)
        return estimate(session, self.resolved, chunks, caching=caching, once=once)

    def _count(self, statement: Sql) -> int:
        return int((self.work.connection.execute(statement).fetchone() or (0,))[0])
