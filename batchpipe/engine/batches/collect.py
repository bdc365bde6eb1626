"""Collect ended batches: keep the raw results first, check and validate them, record them in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from batchpipe.common.durable import remove_left
from batchpipe.engine.batches.ladder_verdicts import fill_states
from batchpipe.engine.batches.not_understood import (
    book_unknown_costs,
    none_understood,
    note_odd_results,
    odd_results,
    oddity_warnings,
    stop_message,
)
from batchpipe.engine.batches.received_answers import validate_received
from batchpipe.engine.batches.result_lines import (
    EndedResults,
    fill_ended,
    line_faults,
    read_lines,
    refuse_short_results,
)
from batchpipe.engine.batches.result_prices import fill_result_prices, have_one_name, insert_results, priced_on
from batchpipe.engine.cost.ladder import PriceBook
from batchpipe.engine.exchange.answering_models import model_warnings
from batchpipe.engine.exchange.downloads import (
    WITHOUT_LINE,
    download_results,
    ended_at,
    ended_batch_data,
    without_line,
)
from batchpipe.engine.exchange.records import submitted_batch_data
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.ledger.events import OpenBatch, call_is_ended
from batchpipe.engine.output.output_table import merge_collected
from batchpipe.engine.votes.collected import record_collected_votes
from batchpipe.engine.votes.slots import slots
from batchpipe.providers import BatchState, RefusedError, WithoutLine
from batchpipe.providers.known import KnownProvider
from batchpipe.schema.columns import has_exact_numbers, leaf_types
from batchpipe.sql.quoting import Sql, joined, quote_list, quote_literal, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

DOWNLOADS = 3
INCLUDED = Sql(", include_values, include_columns")

TOO_LONG_HINT = ". No rung of the ladder takes so long a request: shorten the row, or add a rung whose model takes more"
OUTCOME_WORDS = {
    "refused": "the model refused",
    "truncated": "the answer was cut off at max_tokens",
    "context_window": "the context window was exceeded",
    "expired": "the batch expired before the request was processed",
    "missing": "the results have no line for the request",
    "unknown": "the result is not understood",
    "unaccepted": "`accept` does not hold for the answer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedBatch:
    """Holds what became of the rows of a collected batch.

    `waiting` counts rows that wait for other members of a rung that votes.
    `stop` is the message that stops the run, where nothing else that it sends can succeed. `foreign` says that no line
    of the results is ours. `cost_usd` is in US dollars, as far as it is known; None where nothing of it is.
    """

    accepted: int
    failed: int
    due_again: int
    canceled: int
    warnings: Sequence[str]
    stop: str | None
    foreign: bool = False
    cost_usd: Decimal | None = Decimal(0)
    waiting: int = 0


EndedBatch = tuple[OpenBatch, BatchState]
NOTHING_NEW = CollectedBatch(accepted=0, failed=0, due_again=0, canceled=0, warnings=(), stop=None)
NOTHING_OURS = replace(NOTHING_NEW, foreign=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Collects batches of one pipeline.

    `poll_interval` (seconds) is the first pause before a retry after a transient error. A collector that is
    `rebuilding` takes the results that the raw folder holds and asks no provider; the clock of its database then gives
    the time at which the results came.
    """

    parts: RunParts
    prices: PriceBook
    poll_interval: float
    rebuilding: bool = False
    _said: set[str] = field(default_factory=set, init=False)

    def collect(self, batch: OpenBatch, state: BatchState, *, waited: bool = False) -> CollectedBatch:
        """Download, check, validate and record `batch`. To collect a batch twice changes nothing.

        A batch of which no line is ours comes back as `foreign`, and nothing is recorded. `waited` is that of
        `download_results`. Raises what the provider's `collect` raises, and ShortResultsError before that.
        """
        faults = self._read_results(batch, state, 1 if self.rebuilding or state.archived else DOWNLOADS, waited)
        if faults is None:
            return NOTHING_OURS
        return self.validate_and_record([(batch, state)], faults)[0]

    def collect_together(self, ended: Sequence[EndedBatch]) -> Sequence[CollectedBatch] | None:
        """Collect batches in one transaction, where their results are kept and all of them have the prices of one day.

        If one of them needs special care, record nothing and return None: each is then collected by itself.
        Reads `work.sent`, `work.lines`. Writes `work.received`.
        """
        paths = [path for batch, _ in ended if (path := self.parts.raw_folder.results(batch.chunk_id)) is not None]
        known = self.parts.providers.known_of(ended[0][0])
        if len(paths) < len(ended) or have_one_name(known, [batch.model for batch, _ in ended]):
            return None
        self.fill_sent([self.ended_results(*each, path) for each, path in zip(ended, paths, strict=True)])
        connection = self.parts.work.connection
        self.read_lines(paths, ended[0][0])
        faults, _ = line_faults(connection)
        if any(faults.values()) or connection.execute(query("special")).fetchone() != (False,):
            return None
        connection.execute(query("received"))
        return self.validate_and_record(ended, faults)

    def validate_and_record(self, ended: Sequence[EndedBatch], faults: Mapping[str, int]) -> list[CollectedBatch]:
        """Validate and record the lines of `work.received`, which are of batches with the prices of one day.

        Compresses the raw results when they are recorded.
        Reads `work.received`, `work.sent`, `work.ended`. Drops `work.sent`, `work.sent_values`, `work.lines`,
        `work.chosen_lines`, `work.outcomes`, `work.validity`, `work.documents`, `work.validity_by_policy`,
        `work.documents_by_policy`.
        """
        if not self.rebuilding:
            for batch, state in ended:
                noted_at = self.parts.database.clock()
                self.parts.raw_folder.note(batch.chunk_id, "batch_ended", ended_batch_data(state), noted_at)
        validate_received(self.parts)
        provider = self.parts.providers.known_of(ended[0][0])
        asked, day = {batch.chunk_id: batch.model for batch, _ in ended}, priced_on(*ended[0])
        label = ended[0][0].provider
        answered = fill_result_prices(self.parts, self.prices, provider, day, label, set(asked.values()))
        said = model_warnings(self.parts.work.connection, provider, asked, answered)
        collected = self._record(ended, faults, [each for each in said if each not in self._said])
        self._said.update(said)
        self.parts.work.connection.execute(query("drop_collected"))
        for batch, _ in ended:
            self.parts.raw_folder.compress(batch.chunk_id)
        return collected

    def compress_left(self) -> None:
        """Compress recorded results that a killed process left plain, and remove files that it left unfinished.

        Reads the ledger.
        """
        remove_left(self.parts.raw_folder.path)
        if left := self.parts.raw_folder.uncompressed():
            with self.parts.reading() as session:
                done = session.rows(query("collected_chunks"), {"chunk_ids": left})
            for (chunk_id,) in done:
                self.parts.raw_folder.compress(chunk_id)

    def save(self, batch: OpenBatch, state: BatchState, *, waited: bool = False) -> None:
        """Keep the raw results of `batch`, where they are not kept yet; `waited` is that of `download_results`.

        Raises what the provider's `collect` raises.
        """
        if self.parts.raw_folder.results(batch.chunk_id) is None:
            download_results(batch, state, self.parts.providers.of(batch), self.parts.raw_folder, waited=waited)

    def record_answer(self, chunk_id: str, path: Path, provider: KnownProvider, label: str, model: str) -> None:
        """Record the result of a request to `model` that `provider` answered at once; no row is decided by it.

        The provider was called `label` when it was asked. What another process has recorded meanwhile stays as it is.

        `path` is a file with the one line of the result.
        Writes `ledger.results`, `ledger.prices`.
        """
        self.fill_sent([(chunk_id, None, self.parts.database.clock(), path)])
        read_lines(self.parts.work, provider.rules, [path], exact_inputs=self._has_exact_inputs())
        self.choose_lines()
        validate_received(self.parts)
        day = self.parts.database.clock().date()
        fill_result_prices(self.parts, self.prices, provider, day, label, (model,))
        with self.parts.writing() as session:
            if call_is_ended(session, chunk_id):
                return
            insert_results(session, self._stamp(session))
            book_unknown_costs(session, self.parts, self.prices, provider, session.now.date())
            self.parts.add_event(session, "call_ended", {"outcome": "answered"}, chunk_id=chunk_id)

    def read_lines(self, paths: Sequence[Path], batch: OpenBatch) -> None:
        """Fill `work.lines` from `paths`, as the provider of `batch` writes lines."""
        rules = self.parts.providers.known_of(batch).rules
        read_lines(self.parts.work, rules, paths, exact_inputs=self._has_exact_inputs())

    def _has_exact_inputs(self) -> bool:
        """Return whether the numbers of a tool's input keep their digits: where columns have room for them."""
        resolved = self.parts.resolved
        if resolved.file.pipeline.output.format != "tool":
            return False
        return any(has_exact_numbers(each.shape) or "JSON" in leaf_types(each.shape) for each in resolved.columns)

    def ended_results(self, batch: OpenBatch, state: BatchState, path: Path) -> EndedResults:
        """Return chunk id, batch id, time of the end, and results file of `batch`: a row of `work.ended`."""
        return batch.chunk_id, batch.batch_id, ended_at(state) or self.parts.database.clock(), path

    def fill_sent(self, rows: Sequence[EndedResults]) -> None:
        """Fill `work.ended` with what is collected, and `work.sent` with the rows that were sent with it.

        Reads `ledger.requests`.
        """
        fill_ended(self.parts.work.connection, rows)
        with self.parts.reading() as session:
            included = INCLUDED if self.parts.resolved.include_columns else Sql("")
            session.execute(query("sent", included=included))

    def _read_results(self, batch: OpenBatch, state: BatchState, looks: int, waited: bool) -> Mapping[str, int] | None:
        """Read the raw results of `batch`, and return the number of lines that are not what was sent, by kind of fault.

        They are downloaded anew, up to `looks` times in all, until no line is at fault. Return None for a batch of
        which no line is ours. Raises ShortResultsError where lines lack that may still come.
        Writes `work.ended`, `work.sent`, `work.lines`, `work.chosen_lines`, `work.received`.
        """
        faults: Mapping[str, int] = {}
        ours = False
        for attempt in range(looks):
            path = self.parts.raw_folder.results(batch.chunk_id)
            if attempt or path is None:
                try:
                    download_results(batch, state, self.parts.providers.of(batch), self.parts.raw_folder, waited=waited)
                except RefusedError:
                    if not ours:
                        raise
                    break  # the provider has them no more: what was kept of them counts
                path = self.parts.raw_folder.download(batch.chunk_id)
            self.fill_sent([self.ended_results(batch, state, path)])
            self.read_lines([path], batch)
            faults, ours = line_faults(self.parts.work.connection)
            if not any(faults.values()):
                self.parts.work.connection.execute(query("received"))
                return faults
            if attempt and ours and not waited:
                refuse_short_results(self.parts.work.connection, faults, state)
        if faults["strange"] and not ours:
            if not self.rebuilding:
                self.parts.raw_folder.download(batch.chunk_id).unlink()
            return None
        self.choose_lines(without_line(state))
        return faults if without_line(state) == "missing" else {**faults, "missing": 0}

    def choose_lines(self, word: WithoutLine = "missing") -> None:
        """Fill `work.received` with one line for each request, where the results have more lines or fewer.

        A request without a line gets the outcome `word`.

        Reads `work.lines`, `work.sent`. Writes `work.chosen_lines`, `work.received`.
        """
        self.parts.work.connection.execute(query("chosen_lines"), WITHOUT_LINE[word]._asdict())
        self.parts.work.connection.execute(query("received_chosen"))

    def _record(
        self, ended: Sequence[EndedBatch], faults: Mapping[str, int], said: Sequence[str]
    ) -> list[CollectedBatch]:
        """Decide each row by the ladder, and record results, decisions, events and the output table in one transaction.

        Return what became of each batch, in the order of `ended`.
        Reads `work.received`, `work.sent`, `work.ended`, `work.all_validity`, `work.all_documents`, `work.prices`.
        Writes `work.outcomes`, `work.verdicts`, `ledger.results`, `ledger.decisions`, `ledger.prices`, `ledger.events`,
        the output table.
        """
        connection = self.parts.work.connection
        uniform = connection.execute(query("uniform_error")).fetchone()
        account = connection.execute(query("account_error")).fetchone()
        connection.execute(query("outcomes"), {"uniform": uniform is not None})
        if self.rebuilding:
            self._forget_decided_since()
        odd = odd_results(connection)
        states = fill_states(self.parts)
        warnings = [*oddity_warnings(odd), *self._warnings(faults), *said]
        stop = stop_message(uniform, account)
        if stop is None and (odd or faults["missing"]):
            stop = none_understood(connection, odd)
        canceled = dict(connection.execute(query("canceled")).fetchall())
        with self.parts.writing() as session:
            if session.one(query("any_collected"))[0]:
                return [NOTHING_NEW for _ in ended]
            self._insert(session)
            known = session.rows(query("cost_of_commit"), {"seq": session.seq})
            costs = {chunk_id: None if unknown and not usd else usd for chunk_id, usd, unknown in known}
            if any(unknown for *_, unknown in known):
                sent_to = self.parts.providers.known_of(ended[0][0])
                book_unknown_costs(session, self.parts, self.prices, sent_to, priced_on(*ended[0]))
            for batch, state in ended:
                if batch.state == "presumed":
                    self._add_event(session, batch, "chunk_adopted", submitted_batch_data(state))
                self._add_event(session, batch, "batch_ended", ended_batch_data(state))
                counts = states[batch.chunk_id]
                self._add_event(session, batch, "batch_collected", {"states": counts, "faults": faults, "stop": stop})
            note_odd_results(session, self.parts, odd, ended[0][0].chunk_id)  # with such results it is the only one
            repaired = merge_collected(session, self.parts.resolved, self.parts.run_id)
        if repaired is not None:
            warnings.append(repaired)
        return [
            CollectedBatch(
                accepted=states[chunk_id]["accepted"],
                failed=states[chunk_id]["failed"],
                due_again=states[chunk_id]["retry"] + states[chunk_id]["escalated"],
                waiting=states[chunk_id]["waiting"],
                canceled=canceled.get(chunk_id, 0),
                warnings=warnings if chunk_id == ended[0][0].chunk_id else (),
                stop=stop,
                cost_usd=costs.get(chunk_id, Decimal(0)),
            )
            for chunk_id in (batch.chunk_id for batch, _ in ended)
        ]

    def _forget_decided_since(self) -> None:
        """Leave out rows that were decided after these results came, because the later decision stands.

        Reads `ledger.decisions`. Writes `work.outcomes`.
        """
        statement = query("forget_validated_since", pipelines=quote_list(self.parts.resolved.names))
        with self.parts.reading() as session:
            session.execute(statement, {"moment": session.now})

    def _insert(self, session: Session) -> None:
        """Record the results and the decisions that follow from them.

        Reads `work.outcomes`, `work.verdicts` and what `insert_results` reads. Writes `ledger.results`,
        `ledger.decisions`, `ledger.prices`.
        """
        insert_results(session, self._stamp(session))
        words = joined(
            " ",
            (
                sql("WHEN {name} THEN {text}", name=quote_literal(name), text=quote_literal(text))
                for name, text in OUTCOME_WORDS.items()
            ),
        )
        words = sql("CASE o.checked_outcome {words} END", words=words)
        resolved = self.parts.resolved
        if resolved.panels:
            record_collected_votes(session, resolved, self._stamp(session), words, self.poll_interval)
        session.execute(
            query(
                "insert_decisions",
                outcome_words=words,
                too_long_hint=quote_literal(TOO_LONG_HINT),
                pipelines=quote_list(resolved.names),
                **slots(resolved, "insert_decisions"),
            ),
            self._stamp(session) | {"poll_interval": self.poll_interval},
        )

    def _stamp(self, session: Session) -> dict[str, Any]:
        """Return what every recorded row bears: pipeline, run id, time and commit."""
        return {
            "pipeline": self.parts.resolved.name,
            "run_id": self.parts.run_id,
            "now": session.now,
            "seq": session.seq,
        }

    def _warnings(self, faults: Mapping[str, int]) -> list[str]:
        """Return what a person should know of the collected results: lines at fault, unknown prices, another tier.

        Reads `work.received`, `work.prices`.
        """
        connection = self.parts.work.connection
        warnings = [
            f"{count} {name} line{'' if count == 1 else 's'} in the results" for name, count in faults.items() if count
        ]
        models = [model for (model,) in connection.execute(query("unpriced")).fetchall()]
        if models:
            warnings.append(
                f"no price is known for {', '.join(models)}: set `prices`; what its results cost is not known"
            )
        other = connection.execute(query("not_batch_tier")).fetchone()
        if other and other[0]:
            warnings.append(f"{other[0]:,} results were not processed at the batch tier: the discount was not applied")
        return warnings

    def _add_event(self, session: Session, batch: OpenBatch, kind: str, data: dict[str, Any]) -> None:
        """Record what happened to the chunk of `batch`.

        Writes `ledger.events`.
        """
        self.parts.add_event(session, kind, data, chunk_id=batch.chunk_id)
