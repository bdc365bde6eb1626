"""Try a few rows now, by one realtime call each.

The requests are the same as those of a run, and they are recorded, so that a later run takes their answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from batchpipe.common.errors import InputError, ProviderError, UsageError
from batchpipe.common.held_room import HeldRoom
from batchpipe.engine.answers.validation import ALONE, validate_answers, validate_documents
from batchpipe.engine.batches.collect import Collector
from batchpipe.engine.calls.asked_rung import AskedRung, asked_of, asked_on, first_rung, fitting, sendable
from batchpipe.engine.calls.asker import Asker
from batchpipe.engine.calls.intents import CallIntents
from batchpipe.engine.calls.recorded import record_saved_answer
from batchpipe.engine.calls.tried import TriedRow, member_of, sum_known
from batchpipe.engine.calls.try_request import TriedRequest, refuse_over_budget, sent_once
from batchpipe.engine.context import Context
from batchpipe.engine.cost.ladder import settings_text
from batchpipe.engine.exchange.addresses import unknown_model
from batchpipe.engine.exchange.records import refusal
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.ledger.raw_folder import RawFolder
from batchpipe.engine.local.said import said_of
from batchpipe.engine.plan.history_gate import refuse_renamed
from batchpipe.engine.plan.plan import PlanOptions
from batchpipe.engine.plan.render import fingerprints_by_recipe, render_row, template_values
from batchpipe.engine.plan.row_comparison import compare_rows
from batchpipe.engine.realtime.local_run import hints_for
from batchpipe.engine.resolved.bind import rungs_sql
from batchpipe.engine.resolved.recorded_recipes import keys_of_input, under_recorded_recipes, with_stored_keys
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.request_files import ChangedFileError
from batchpipe.engine.source.snapshot import Snapshot, texts_sql
from batchpipe.engine.votes.parts import EVERY
from batchpipe.engine.votes.tried import Ballot, vote_on_tried
from batchpipe.media.places import filled
from batchpipe.providers import NotSentError, RefusedError, RungSettings, UnavailableError
from batchpipe.schema import exact_json
from batchpipe.sql.quoting import Sql, joined, quote_list, quote_literal, sql
from batchpipe.store.database import Work
from batchpipe.store.queries import query
from batchpipe.template.hints import RowHints

TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TryOptions:
    """Says which rows to try, and by which model.

    `keys` are JSON lists of texts. Without them, `rows` rows are taken in the order of the hashes of their keys.
    """

    keys: Sequence[str] = ()
    rows: int = 5
    where: str | None = None
    rung: int | None = None
    model: str | None = None


@dataclass(slots=True, kw_only=True)
class RowTry:
    """Tries rows of one pipeline. `work` is its working database; the output table is not touched. `notes` say what is
    asked otherwise than a run would.
    """

    context: Context
    resolved: Resolved
    snapshot: Snapshot
    work: Work
    folder: Path
    params: Mapping[str, Any] = field(default_factory=dict)
    run_id: str = field(default="", init=False)
    notes: dict[str, None] = field(default_factory=dict, init=False)
    _said: Mapping[str, RowHints] = field(default_factory=dict, init=False)
    _local_model: str | None = field(default=None, init=False)

    def rows(self, options: TryOptions) -> Iterator[TriedRow]:
        """Yield each row as its answer comes.

        Raises UsageError for an unknown key or rung, GateError where the calls do not fit a budget or where the
        pipeline looks like a renamed one, ProviderError where the provider refuses.
        """
        with self.context.database.reading(self.work) as session:
            self.resolved = under_recorded_recipes(session, self.resolved)
            path = self.folder / "keyed.parquet"
            self.snapshot = with_stored_keys(session, self.resolved, self.snapshot, path)
            refuse_renamed(session, self.resolved, self.snapshot)
            self.run_id = session.new_id()
        keys = self._keys(options)
        self._ask_local_model(keys)
        rows = [self._requests(*row, options) for row in self._values(keys)]
        requests = sent_once([each for _, of_row in rows for each in of_row])
        with self.context.database.reading(self.work) as session:
            refuse_over_budget(session, self.context, self.resolved, requests, self.run_id)
        asker = Asker(
            context=self.context,
            resolved=self.resolved,
            snapshot=self.snapshot,
            intents=self._intents,
            git_commit=self.context.git_commit(),
            call=self._call,
        )
        coming = iter(requests)
        for rung, of_row in rows:
            found = [self._asked(asker, request) for request in islice(coming, len(of_row))]
            yield self._voted(rung, found) if rung.votes else found[0][1]

    def _asked(self, asker: Asker, request: TriedRequest) -> tuple[TriedRequest, TriedRow]:
        """Ask a request; return it as it was answered, with its answer."""
        asked, seconds, batch_id = asker.ask(request)
        return asked, self._in_batch(asked, batch_id) if batch_id is not None else self._answered(asked, seconds)

    def _voted(self, rung: AskedRung, found: Sequence[tuple[TriedRequest, TriedRow]]) -> TriedRow:
        """Return a row with the vote of the members that were asked; without it where a batch has one's request."""
        requests, rows = [request for request, _ in found], [row for _, row in found]
        key, waits = requests[0].key, next((each for each in rows if each.verdict == "in_flight"), None)
        ballots = [
            Ballot(
                place=part.place,
                custom_id=request.custom_id,
                output=exact_json.dumps(row.output) if row.verdict == "valid" else None,
            )
            for part, (request, row) in zip(rung.parts, found, strict=True)
        ]
        vote = None if waits else vote_on_tried(self.work, self.resolved, self.snapshot, key, rung.rung, ballots)
        standing = next(
            (row for part, row in zip(rung.parts, rows, strict=True) if vote and part.place == vote.winner), None
        )
        verdict = "in_flight" if vote is None else vote.outcome
        if verdict == "no_answer":
            verdict = "no_quorum" if standing is None else "invalid"
        return replace(
            standing or rows[0],
            model=standing.model if standing else self.resolved.file.pipeline.models[rung.rung - 1].name,
            known=all(each.known for each in rows),
            verdict=verdict,
            error=vote.error if vote else waits.error if waits else None,
            answer=standing.answer if standing else None,
            output=standing.output if standing else None,
            input_tokens=sum_known([each.input_tokens for each in rows]),
            output_tokens=sum_known([each.output_tokens for each in rows]),
            cost_usd=sum_known([each.cost_usd for each in rows]),
            seconds=sum(each.seconds for each in rows),
            agreement=vote.agreement if vote else None,
            quorum=self.resolved.panels[rung.rung].least_valid,
            members=[member_of(row, request, winner=row is standing) for request, row in found],
        )

    def _keys(self, options: TryOptions) -> list[str]:
        """Return the keys of the rows to try.

        With `where`, writes the tables of `compare_rows` and reads `work.input`.
        Raises UsageError for a key that is not in the input.
        """
        connection = self.work.connection
        relation, rows = self.snapshot.relation, {"rows": options.rows}
        if options.keys:
            with self.context.database.reading(self.work) as session:
                given = keys_of_input(session, self.resolved, relation, options.keys)
            missing = [key for key, there in given.items() if there is None]
            if missing:
                hint = f"The rows of the input: batchpipe plan {self.resolved.name} --rows"
                raise UsageError(f"there is no row {', '.join(missing)} in the input", where="KEY", hint=hint)
            return list(dict.fromkeys(each for each in given.values() if each is not None))
        if options.where is None:
            drawn = query("keys_by_hash", relation=sendable(self.resolved, self.snapshot))
            return [key for (key,) in connection.execute(drawn, rows).fetchall()]
        with self.context.database.reading(self.work) as session:
            compare_rows(session, self.resolved, self.snapshot, (), PlanOptions(where=options.where))
        there = sendable(self.resolved, self.snapshot)
        chosen = sql("(SELECT key FROM work.input SEMI JOIN {there} USING (key) WHERE selected)", there=there)
        return [key for (key,) in connection.execute(query("keys_by_hash", relation=chosen), rows).fetchall()]

    def _values(self, keys: Sequence[str]) -> list[tuple[str, int, dict[str, Any]]]:
        """Return, of each key, the mask of rungs that its row may use, and the columns that the templates read."""
        resolved = self.resolved
        read = template_values(resolved)
        used = {name for when in resolved.whens if when for name in when.inputs}
        statement = sql(
            "SELECT {chosen} FROM {relation} s JOIN (SELECT position, {rungs} AS mask FROM {typed}) m USING (position) "
            "WHERE s.key IN ({listed})",
            chosen=joined(", ", [Sql("s.key"), Sql("m.mask"), *read.select]),
            relation=self.snapshot.relation,
            rungs=rungs_sql(resolved.whens),
            typed=self.snapshot.typed(used),
            listed=quote_list(keys) or Sql("NULL"),
        )
        rows = self.work.connection.execute(statement).fetchall()
        by_key = {key: (key, mask, read.row(values)) for key, mask, *values in rows}
        return [by_key[key] for key in keys]

    def _ask_local_model(self, keys: Sequence[str]) -> None:
        """Ask the local model what templates ask it of these rows. Writes `ledger.local_models`, `ledger.events`."""
        hints = hints_for(self.context, self.work, self.resolved, self.snapshot, self.run_id)
        if hints is not None and keys:
            self._local_model = hints.name
            self._said = said_of(self.work.connection, self.snapshot, hints, Sql("s.key"), quote_list(keys))

    def _requests(
        self, key: str, mask: int, values: Mapping[str, Any], options: TryOptions
    ) -> tuple[AskedRung, list[TriedRequest]]:
        """Return the rung that is asked for, else the first that the row may use, with the requests of the row there.

        Raises PipelineError for a model that cannot be asked so, UsageError for a rung that there is not.
        """
        resolved = self.resolved
        number, name = options.rung or first_rung(resolved, mask), options.model
        rung = fitting(resolved, asked_of(resolved, name) if name is not None else asked_on(resolved, number))
        self.notes |= dict.fromkeys(rung.notes)
        parts = [each.part for each in rung.parts] or [""]
        asked = zip(rung.asked, parts, strict=True)
        return rung, [self._request(key, values, rung.rung, settings, part) for settings, part in asked]

    def _request(
        self, key: str, values: Mapping[str, Any], rung: int, settings: RungSettings, part: str
    ) -> TriedRequest:
        """Render a request of a row, and look for its answer among those that were bought before.

        Reads `ledger.requests`, `ledger.results`.
        """
        resolved = self.resolved
        message, params = render_row(resolved, values, settings=settings, hints=self._said.get(key))
        prints = fingerprints_by_recipe(self.work.connection, resolved, self.snapshot, key)
        fingerprint = prints[resolved.version.recipe]
        every = joined(", ", (sql("md5({text})::UUID", text=quote_literal(each)) for each in prints.values()))
        with self.context.database.reading(self.work) as session:
            known = session.rows(
                query("answered_before", families=quote_list(resolved.names), fingerprints=every),
                {"settings": settings_text(settings), "part": part},
            )
            chunk_id = session.new_id()
            database = session.one(query("database_id"))[0]
        return TriedRequest(
            key=key,
            rung=rung,
            part=part,
            settings=settings,
            message=message,
            params=params,
            fingerprint=fingerprint,
            fingerprints=every,
            custom_id=known[0][0] if known else f"{database or 'try'}-{chunk_id.replace('-', '')}",
            chunk_id=None if known else chunk_id,
            local_model=self._local_model,
        )

    def _in_batch(self, request: TriedRequest, batch_id: str) -> TriedRow:
        """Return a row whose request is in flight with a batch: its answer comes with `run`."""
        return TriedRow(
            key=json.loads(request.key),
            rung=request.rung,
            model=request.settings.model,
            system=request.message.system,
            user=request.message.user,
            known=True,
            verdict="in_flight",
            error=f"the batch {batch_id} has this request; `run` collects its answer",
            answer=None,
            output=None,
            input_tokens=None,
            output_tokens=None,
            cost_usd=Decimal(0),
            seconds=0.0,
        )

    def _answered(self, request: TriedRequest, seconds: float) -> TriedRow:
        """Return a row with its answer; `seconds` is how long our own call took.

        Reads `ledger.results`. Writes `work.answers`.
        """
        with self.context.database.reading(self.work) as session:
            found = session.dictionaries(query("tried_result"), {"custom_id": request.custom_id})[0]
            session.execute(query("tried_answer"), {"custom_id": request.custom_id})
        known = request.chunk_id is None
        verdict, error, output = self._validated(request, found)
        return TriedRow(
            key=json.loads(request.key),
            rung=request.rung,
            model=found["model"] or request.settings.model,
            system=request.message.system,
            user=request.message.user,
            known=known,
            verdict=verdict,
            error=error,
            answer=found["answer"],
            output=output,
            input_tokens=found["input_tokens"],
            output_tokens=found["output_tokens"],
            cost_usd=Decimal(0) if known else found["cost_usd"],
            seconds=seconds,
        )

    def _validated(self, request: TriedRequest, found: Mapping[str, Any]) -> tuple[str, str | None, Any]:
        """Return (verdict, error, output) of a result, by the present schema, checks and `accept` of its rung.

        Reads `work.answers`. Writes `work.to_validate`, `work.documents`, `work.validity`.
        """
        if found["outcome"] != "answered":
            return found["outcome"], found["error"] or None, None
        connection, rules = self.work.connection, self.resolved.answer_rules
        values = texts_sql(self.resolved.hash_columns)
        statement = query("tried_row", values=values, snapshot=self.snapshot.relation)
        connection.execute(statement, {"custom_id": request.custom_id, "rung": request.rung, "key": request.key})
        validate_documents(self.work, rules, Sql("work.answers"))
        validate_answers(self.work, rules, Sql("work.to_validate"), members=EVERY if request.part else ALONE)
        row = connection.execute(query("tried_verdict")).fetchone()
        valid, accepts, error, output = row or (False, False, None, None)
        verdict = "accepted" if accepts else "unaccepted" if valid else "invalid"
        if valid and request.part:
            verdict = "valid"
        return verdict, error, exact_json.loads(output) if output is not None else None

    def _call(self, request: TriedRequest, room: HeldRoom) -> float:
        """Call the provider and record the result, in the `room` that is held for it on the disk; return how many
        seconds the call took.

        Writes the file of the result, `ledger.results`, `ledger.prices`. Raises ProviderError where the provider
        refuses or does not answer.
        """
        context, resolved = self.context, self.resolved
        known = resolved.provider_of(request.settings)
        provider = context.providers_of(resolved.file).named(known.name)
        headers = provider.batch_headers(known.named(request.settings))
        began = self.context.machine.monotonic()
        try:
            params = self._with_files(request)
            answer = provider.answer(request.custom_id, params, headers=headers, timeout_seconds=TIMEOUT_SECONDS)
        except RefusedError as error:
            self._intents.end(str(request.chunk_id), "refused", error.message)
            if error.kind == "not_found":
                model, url = request.settings.model, context.account_url(provider)
                raise unknown_model(error, known, url, model, where="--model") from error
            raise refusal(error, provider.key_hash) from error
        except (UnavailableError, NotSentError) as error:
            refused = isinstance(error, UnavailableError) and error.turned_away
            outcome = "not_sent" if isinstance(error, NotSentError) else "refused" if refused else "lost"
            self._intents.end(str(request.chunk_id), outcome, str(error))
            hint = "Try again; rows that were answered are kept and not sent again."
            raise ProviderError(f"the provider did not answer: {error}", where="provider", hint=hint) from error
        seconds = self.context.machine.monotonic() - began
        raw_folder = self._intents.raw_folder
        room.give_back()
        path = raw_folder.write_results(str(request.chunk_id), answer.line)
        model = request.settings.model
        record_saved_answer(self._collector(raw_folder), str(request.chunk_id), path, known, known.name, model)
        return seconds

    def _with_files(self, request: TriedRequest) -> bytes:
        """Return the params of a request with its files in them. Raises InputError for one that has changed."""
        connection, position = (
            self.work.connection,
            query("positions_of_key", rows=self.snapshot.relation, key=quote_literal(request.key)),
        )
        try:
            with self.context.request_files(self.resolved, self.params, self.folder) as files:
                if files is None:
                    return request.params
                files.provide(connection, self.snapshot, position)
                return filled(request.params, files.reader(connection, self.snapshot, position))
        except ChangedFileError as error:
            self._intents.end(str(request.chunk_id), "not_sent", "a file has changed")
            what = "a file of this row has changed since it was looked at"
            raise InputError(what, where=request.key, hint="Try again.") from error

    @property
    def _intents(self) -> CallIntents:
        """Return what records the intents and the ends of calls."""
        database = self.context.database
        return CallIntents(resolved=self.resolved, database=database, work=self.work, run_id=self.run_id)

    def _collector(self, raw_folder: RawFolder) -> Collector:
        """Return what records the results."""
        context = self.context
        parts = RunParts(
            resolved=self.resolved,
            database=context.database,
            work=self.work,
            raw_folder=raw_folder,
            providers=context.providers_of(self.resolved.file),
            run_id=self.run_id,
        )
        return Collector(parts=parts, prices=context.prices(), poll_interval=0.0)
