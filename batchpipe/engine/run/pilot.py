"""The pilot of a prompt version: a small sample is answered first, and the rest waits for approval."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batchpipe.common.errors import BatchpipeError, PipelineError, UsageError
from batchpipe.common.logs import Event, Tell
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.events import add_event
from batchpipe.engine.plan.orders import open_orders
from batchpipe.engine.plan.pilot_sample import PilotSample
from batchpipe.engine.plan.plan import PlanOptions
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.pilot_summary import PilotSummary, pilot_accuracy, pilot_shortfalls, sum_up_pilot
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.pipeline.model import Pilot
from batchpipe.sql.quoting import Sql, quote_list
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query

if TYPE_CHECKING:
    from batchpipe.engine.gold.answered_gold import TrueValues


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotState:
    """Says how far the pilot of the present prompt version is.

    `settled` says that everything may be sent. `sent` rows were sent with the pilot; `in_flight` of them have not come
    back.
    """

    pilot: Pilot
    settled: bool
    sent: int
    in_flight: int

    @property
    def complete(self) -> bool:
        """Return whether something was sent and all of it has come back."""
        return self.sent > 0 and not self.in_flight

    def sample(self, gold: TrueValues | None) -> PilotSample | None:
        """Return what may be sent before approval; None where everything may."""
        if self.settled:
            return None
        return PilotSample(
            rows=max(self.pilot.rows - self.sent, 0),
            begun=self.sent > 0,
            at_least=self.pilot.rows,
            stratify=self.pilot.stratify,
            gold_first=gold is not None and self.pilot.min_accuracy is not None,
        )


NOT_BEGUN = (False, 0, 0)


def pilot_state(
    session: Session, resolved: Resolved, asked_rows: int | None = None, *, emulator: bool = False
) -> PilotState | None:
    """Return how far the pilot of the present prompt version is; None where the version needs no pilot.

    `asked_rows` is `--pilot N`. A pilot that has begun holds until it is approved, also where the file no longer asks
    for one. With `emulator` no money is at stake: the pilot of the file passes by itself, and only `--pilot N` begins
    one.
    Reads `ledger.requests`, `ledger.events`, `ledger.decisions`. Raises UsageError for `--pilot` where the version is
    in use already.
    """
    names, version = quote_list(resolved.names), {"prompt_version": resolved.version.prompt_version}
    known = session.knows(resolved.names)
    begun = known and session.one(query("any_pilot", pipelines=names))[0]
    approved, sent, in_flight = session.one(query("pilot_standing", pipelines=names), version) if begun else NOT_BEGUN
    pilot = None if emulator and asked_rows is None else resolved.file.pipeline.pilot
    if asked_rows is not None:
        pilot = (pilot or Pilot()).model_copy(update={"rows": asked_rows})
    if pilot is None and not sent:
        return None
    pilot = pilot or Pilot(rows=sent)
    in_use = known and not sent and session.one(query("rows_in_use", pipelines=names), version)[0] >= pilot.rows
    if asked_rows is not None and (approved or in_use):
        why = "was approved already" if approved else f"has answered {pilot.rows:,} rows or more already"
        hint = f"To send a few rows only: batchpipe run {resolved.name} --limit {asked_rows}"
        raise UsageError(f"the prompt of {resolved.name} {why}: it needs no pilot", where="--pilot", hint=hint)
    return PilotState(pilot=pilot, settled=bool(approved or in_use), sent=sent, in_flight=in_flight)


def pilot_gold(context: Context, work: Work, resolved: Resolved, asked_rows: int | None = None) -> TrueValues | None:
    """Return the true values of rows, if a pilot that is not approved yet asks for `min_accuracy`; else None.

    Writes `work.true_values`. Raises PipelineError where only judges compare the fields.
    """
    pilot = resolved.file.pipeline.pilot
    if pilot is None or pilot.min_accuracy is None:
        return None
    with context.database.reading(work) as session:
        state = pilot_state(session, resolved, asked_rows, emulator=context.settings.emulator)
    if state is None or state.settled:
        return None
    from batchpipe.engine.gold.answered_gold import read_true_values

    known = read_true_values(context, work, resolved.file, resolved.columns)
    if known is None:
        hint = 'Compare a field by "exact", "numeric", "set" or "text", or remove min_accuracy: a pilot asks no judge.'
        where = resolved.file.where("[pilot] min_accuracy")
        raise PipelineError("only judges compare the fields of [eval]", where=where, hint=hint)
    return known


def passes_by_itself(session: Session, resolved: Resolved, state: PilotState | None, gold: TrueValues | None) -> bool:
    """Return whether `auto` opens the gate: the pilot has come back and keeps what `[pilot]` asks for.

    Reads the ledger, `work.true_values`. Writes `work.pilot_rows`.
    """
    if state is None or state.settled or not state.complete or not state.pilot.auto:
        return False
    session.execute(query("pilot_rows", pipelines=quote_list(resolved.names)), _version(resolved))
    totals = session.dictionaries(query("pilot_totals"))[0]
    return not pilot_shortfalls(state.pilot, totals, pilot_accuracy(session, resolved, gold))


def pilot_sample(
    session: Session,
    resolved: Resolved,
    gold: TrueValues | None,
    asked_rows: int | None = None,
    *,
    emulator: bool = False,
) -> PilotSample | None:
    """Return what a run would be held to now; None where everything may be sent. `gold` is that of `pilot_gold`.

    Raises UsageError as `pilot_state` does.
    """
    state = pilot_state(session, resolved, asked_rows, emulator=emulator)
    if state is None or passes_by_itself(session, resolved, state, gold):
        return None
    return state.sample(gold)


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotLook:
    """What a look from outside a run shows of a pilot: how far it is, and its summary once all of it has come back."""

    state: PilotState
    summary: PilotSummary | None


def look_at_pilot(context: Context, work: Work, planner: Planner, snapshot: Snapshot) -> PilotLook | None:
    """Return how far the pilot of the present prompt version is; None where it needs none. Nothing is recorded.

    Reads the ledger. Writes `work.pilot_rows`, and the tables of a plan.
    """
    resolved = planner.resolved
    with context.database.reading(work) as session:
        state = pilot_state(session, resolved, emulator=context.settings.emulator)
        if state is None or state.settled or not state.complete:
            return PilotLook(state=state, summary=None) if state is not None else None
        orders = open_orders(session, resolved)
    gold = read_gold_at_hand(context, work, resolved)
    planner.plan(snapshot, orders, PlanOptions(sample=state.sample(gold)))
    with context.database.reading(work) as session:
        session.execute(query("pilot_rows", pipelines=quote_list(resolved.names)), _version(resolved))
    requests, rest = planner.rest(PlanOptions(), Sql("work.pilot_rows"))
    with context.database.reading(work) as session:
        summary = sum_up_pilot(session, resolved, state.pilot, gold, requests, rest)
    return PilotLook(state=state, summary=_marked(context, resolved, summary))


def approve_pilot(context: Context, work: Work, resolved: Resolved, who: str, rows: int) -> None:
    """Record that `who`, who has seen the answers of `rows` rows, approves the pilot.

    Reads `ledger.requests`, `ledger.events`. Writes `ledger.events`. Raises UsageError where no pilot waits, and where
    it is another one than was seen.
    """
    with context.database.writing(work, None) as session:
        state = pilot_state(session, resolved, emulator=context.settings.emulator)
        if state is None or state.settled or not state.complete or state.sent != rows:
            what = f"no pilot of {rows:,} rows of {resolved.name} waits for approval"
            raise UsageError(what, where="pilot", hint=f"See what there is: batchpipe plan {resolved.name}")
        data = {"prompt_version": resolved.version.prompt_version, "by": who}
        add_event(session, resolved.name, "pilot_approved", data)


def read_gold_at_hand(context: Context, work: Work, resolved: Resolved) -> TrueValues | None:
    """Return the true values to show an accuracy by; None where they cannot be read.

    No `min_accuracy` is set there, so that gold that cannot be read does not stop the pilot.
    """
    from batchpipe.engine.gold.answered_gold import read_true_values

    try:
        return read_true_values(context, work, resolved.file, resolved.columns)
    except BatchpipeError:
        return None


def _marked(context: Context, resolved: Resolved, summary: PilotSummary) -> PilotSummary:
    """Return the summary, marked as made up where the emulator has made up the answers."""
    if summary.accuracy is None or not context.settings.emulator:
        return summary
    if context.emulator_answers(resolved.file) is not None:
        return summary
    return replace(summary, accuracy=replace(summary.accuracy, made_up=True))


@dataclass(slots=True, kw_only=True)
class PilotGate:
    """Leads a run through its pilot: says what may be sent, and closes the gate behind it.

    An approval counts only if the answers had come back before this call: otherwise nobody can have seen them.
    """

    resolved: Resolved
    context: Context
    work: Work
    run_id: str
    tell: Tell
    _asked_rows: int | None = field(default=None, init=False)
    _state: PilotState | None = field(default=None, init=False)
    _gold: TrueValues | None = field(default=None, init=False)

    def begin(self, *, rows: int | None, approve: bool) -> None:
        """Read how far the pilot is, and record an approval. `rows` is `--pilot N`.

        Writes `ledger.events`. Raises UsageError as `pilot_state` does.
        """
        self._asked_rows = rows
        self._gold = pilot_gold(self.context, self.work, self.resolved, rows)
        with self.context.database.reading(self.work) as session:
            state = self._read_state(session)
        if approve and state is not None and not state.settled and state.sent:
            if state.complete:
                self._approve(self.context.person)
            else:
                self.tell(Event(kind="notice", detail="the pilot is still in flight: look at it, then --approve"))

    def sample(self) -> PilotSample | None:
        """Return what may be sent; None where everything may. An approval by `auto` is recorded first.

        Writes `ledger.events`.
        """
        with self.context.database.reading(self.work) as session:
            state = self._read_state(session)
            if state is None or state.settled:
                return None
            passes = passes_by_itself(session, self.resolved, state, self._gold)
        if passes:
            self._approve("auto")
            return None
        return state.sample(self._gold)

    def close(self, planner: Planner, options: PlanOptions) -> PilotSummary | None:
        """Sum up the pilot where its gate stays closed; return None where everything may be sent now.

        Reads the tables of the last plan. Writes `work.pilot_rows`, and `work.due` and what follows from it anew.
        """
        if self.sample() is None or self._state is None:
            return None
        with self.context.database.reading(self.work) as session:
            session.execute(query("pilot_rows", pipelines=quote_list(self.resolved.names)), _version(self.resolved))
        requests, rest = planner.rest(options, Sql("work.pilot_rows"))
        gold = self._gold or read_gold_at_hand(self.context, self.work, self.resolved)
        with self.context.database.reading(self.work) as session:
            summary = sum_up_pilot(session, self.resolved, self._state.pilot, gold, requests, rest)
        return _marked(self.context, self.resolved, summary)

    def _read_state(self, session: Session) -> PilotState | None:
        """Read how far the pilot is."""
        emulator = self.context.settings.emulator
        self._state = pilot_state(session, self.resolved, self._asked_rows, emulator=emulator)
        return self._state

    def _approve(self, who: str) -> None:
        """Record that `who` approved the pilot, and tell it.

        Writes `ledger.events`.
        """
        data = {"prompt_version": self.resolved.version.prompt_version, "by": who}
        with self.context.database.writing(self.work, self.run_id) as session:
            add_event(session, self.resolved.name, "pilot_approved", data, run_id=self.run_id)
        self.tell(Event(kind="pilot_approved", detail=who))


def _version(resolved: Resolved) -> dict[str, str]:
    """Return the present prompt version as a parameter."""
    return {"prompt_version": resolved.version.prompt_version}
