"""The pilot of a prompt version: a small sample is answered first, and the rest waits for approval."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from batchpipe.common.errors import BatchpipeError, PipelineError, UsageError
from batchpipe.common.logs import Event, Tell
from batchpipe.engine.context import Context
from batchpipe.engine.cost.estimate import Estimate
from batchpipe.engine.gold.agreement import fewest, wilson
from batchpipe.engine.gold.answered_gold import TrueValues, grade_answers, read_true_values
from batchpipe.engine.ledger.events import add_event
from batchpipe.engine.plan.pilot_sample import PilotSample
from batchpipe.engine.plan.plan import PlanOptions
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.pipeline.model import Pilot
from batchpipe.schema.columns import Column, value_sql
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query

EXAMPLES = 10
MOST_VALUES = 30
BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotState:
    """How far the pilot of the present prompt version is. `settled`: everything may be sent."""

    pilot: Pilot
    settled: bool
    sent: int
    in_flight: int

    @property
    def complete(self) -> bool:
        """Something was sent, and all of it has come back."""
        return self.sent > 0 and not self.in_flight

    def sample(self, gold: TrueValues | None) -> PilotSample | None:
        """What may be sent before approval; None where everything may."""
        if self.settled:
            return None
        return PilotSample(
            rows=max(self.pilot.rows - self.sent, 0),
            begun=self.sent > 0,
            at_least=self.pilot.rows,
            stratify=self.pilot.stratify,
            gold_first=gold is not None and self.pilot.min_accuracy is not None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotSummary:
    """What a pilot came to. Costs are US dollars, None where a price is not known.

    `reasons` are (outcome, error, rows) of what is not valid; `values` count each allowed value of a field;
    `histograms` count ten equal parts between a field's bounds; `rest` is what else is due, in requests and cost;
    `accuracy` is None where no `[eval]` says what is true.
    """

    rows: int
    requests: int
    valid: int
    reasons: Sequence[tuple[str, str, int]]
    values: Mapping[str, Mapping[str, int]]
    histograms: Mapping[str, Histogram]
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    rest_requests: int
    rest: Estimate
    examples: Sequence[PilotRow]
    accuracy: PilotAccuracy | None
    shortfalls: Sequence[str]

    @property
    def gate_reason(self) -> str:
        """Why the gate is closed."""
        why = "; ".join(self.shortfalls) or "it waits for approval"
        return f"the pilot of {self.rows:,} rows has come back: {why}"

    @property
    def valid_share(self) -> float:
        return self.valid / self.rows if self.rows else 0.0

    @property
    def usd_per_row(self) -> Decimal | None:
        return self.cost_usd / self.rows if self.cost_usd is not None and self.rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotAccuracy:
    """Of the pilot's rows with a true value `n` have come to an answer that stands or to none, `right` of them to a
    right one. `climbing` ones beside them go up a rung, so that their answer does not stand. `made_up` answers are the
    emulator's own."""

    n: int
    right: int
    climbing: int
    made_up: bool = False

    @property
    def share(self) -> float | None:
        return self.right / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the share; None of nothing."""
        return wilson(self.right, self.n) if self.n else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Rows in ten equal parts from `low` to `high`."""

    low: float
    high: float
    rows: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotRow:
    """One row of a pilot: its key as texts, what conditions and prompt read of it, and its answer or why not."""

    key: Sequence[str]
    input: Mapping[str, str | None]
    output: Mapping[str, Any] | None
    error: str | None


def pilot_state(session: Session, resolved: Resolved, asked_rows: int | None = None) -> PilotState | None:
    """Where the present prompt version stands; None where it needs no pilot.

    `asked_rows` is `--pilot N`; UsageError where the version is in use already. A pilot that has begun holds until
    it is approved, also where the file asks for none any more.
    """
    names, version = quote_list(resolved.names), {"prompt_version": resolved.version.prompt_version}
    approved, sent, in_flight = session.one(query("pilot_standing", pipelines=names), version)
    pilot = resolved.file.pipeline.pilot
    if asked_rows is not None:
        pilot = (pilot or Pilot()).model_copy(update={"rows": asked_rows})
    if pilot is None and not sent:
        return None
    pilot = pilot or Pilot(rows=sent)
    in_use = not sent and session.one(query("rows_in_use", pipelines=names), version)[0] >= pilot.rows
    if asked_rows is not None and (approved or in_use):
        why = "was approved already" if approved else f"has answered {pilot.rows:,} rows or more already"
        hint = f"To send a few rows only: batchpipe run {resolved.name} --limit {asked_rows}"
        raise UsageError(f"the prompt of {resolved.name} {why}: it needs no pilot", where="--pilot", hint=hint)
    return PilotState(pilot=pilot, settled=bool(approved or in_use), sent=sent, in_flight=in_flight)


def pilot_gold(context: Context, work: Work, resolved: Resolved, asked_rows: int | None = None) -> TrueValues | None:
    """What is true of rows, in `work`, where a pilot that is not approved yet asks for `min_accuracy`."""
    pilot = resolved.file.pipeline.pilot
    if pilot is None or pilot.min_accuracy is None:
        return None
    with context.database.reading(work) as session:
        state = pilot_state(session, resolved, asked_rows)
    if state is None or state.settled:
        return None
    known = read_true_values(context, work, resolved.file, resolved.columns)
    if known is None:
        hint = 'Compare a field by "exact", "numeric", "set" or "text", or remove min_accuracy: a pilot asks no judge.'
        where = resolved.file.where("[pilot] min_accuracy")
        raise PipelineError("only judges compare the fields of [eval]", where=where, hint=hint)
    return known


def passes_by_itself(session: Session, resolved: Resolved, state: PilotState | None, gold: TrueValues | None) -> bool:
    """Whether `auto` opens the gate: the pilot has come back and keeps what `[pilot]` asks for."""
    if state is None or state.settled or not state.complete or not state.pilot.auto:
        return False
    session.execute(query("pilot_rows", pipelines=quote_list(resolved.names)), _version(resolved))
    totals = session.dictionaries(query("pilot_totals"))[0]
    return not _shortfalls(state.pilot, totals, _accuracy(session, resolved, gold))


def pilot_sample(
    session: Session, resolved: Resolved, gold: TrueValues | None, asked_rows: int | None = None
) -> PilotSample | None:
    """What a run would be held to now; `gold` is `pilot_gold`."""
    state = pilot_state(session, resolved, asked_rows)
    if state is None or passes_by_itself(session, resolved, state, gold):
        return None
    return state.sample(gold)


@dataclass(slots=True, kw_only=True)
class PilotGate:
    """A run's way through its pilot: what may be sent, and the gate behind it.

    Only who could have seen the answers may approve: an approval counts where they had come back before this call.
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
        """Look where the version stands, and record an approval. `rows` is `--pilot N`; UsageError as `pilot_state`."""
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
        """What may be sent; an approval by `auto` is recorded first."""
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
        """What the pilot came to, where its gate stays closed; None where everything may be sent now."""
        if self.sample() is None or self._state is None:
            return None
        with self.context.database.reading(self.work) as session:
            session.execute(query("pilot_rows", pipelines=quote_list(self.resolved.names)), _version(self.resolved))
        requests, rest = planner.rest(options, "work.pilot_rows")
        gold = self._gold or self._gold_at_hand()
        with self.context.database.reading(self.work) as session:
            summary = sum_up_pilot(session, self.resolved, self._state, gold, requests, rest)
        file, accuracy = self.resolved.file, summary.accuracy
        if accuracy is None or not self.context.settings.emulator or self.context.emulator_answers(file) is not None:
            return summary
        return replace(summary, accuracy=replace(accuracy, made_up=True))

    def _gold_at_hand(self) -> TrueValues | None:
        """Where no bar is set the accuracy is only shown: gold that cannot be read is in nobody's way."""
        try:
            return read_true_values(self.context, self.work, self.resolved.file, self.resolved.columns)
        except BatchpipeError:
            return None

    def _read_state(self, session: Session) -> PilotState | None:
        self._state = pilot_state(session, self.resolved, self._asked_rows)
        return self._state

    def _approve(self, who: str) -> None:
        data = {"prompt_version": self.resolved.version.prompt_version, "by": who}
        with self.context.database.writing(self.work, self.run_id) as session:
            add_event(session, self.resolved.name, "pilot_approved", data, run_id=self.run_id)
        self.tell(Event(kind="pilot_approved", detail=who))


def sum_up_pilot(
    session: Session, resolved: Resolved, state: PilotState, gold: TrueValues | None, requests: int, rest: Estimate
) -> PilotSummary:
    """What `work.pilot_rows` came to; `requests` are still due, and `rest` is what they would cost."""
    accuracy = _accuracy(session, resolved, gold)
    totals = session.dictionaries(query("pilot_totals"))[0]
    names = [each.name for each in resolved.hash_columns]
    examples = [
        PilotRow(
            key=json.loads(key),
            input=dict(zip(names, values, strict=False)),
            output=json.loads(output) if output is not None and valid else None,
            error=None if valid else error,
        )
        for key, values, output, error, valid in session.rows(query("pilot_examples"), {"rows": EXAMPLES})
    ]
    return PilotSummary(
        **totals,
        reasons=session.rows(query("pilot_reasons")),
        values={each.name: _values(session, each) for each in resolved.columns if _is_listed(resolved, each)},
        histograms=_histograms(session, resolved),
        rest_requests=requests,
        rest=rest,
        examples=examples,
        accuracy=accuracy,
        shortfalls=_shortfalls(state.pilot, totals, accuracy),
    )


def _version(resolved: Resolved) -> dict[str, str]:
    return {"prompt_version": resolved.version.prompt_version}


def _accuracy(session: Session, resolved: Resolved, gold: TrueValues | None) -> PilotAccuracy | None:
    """How many rows of `work.pilot_rows` with a true value are right."""
    if gold is None:
        return None
    examples = [resolved.version.queries]
    found = grade_answers(session, gold, resolved.names, "work.pilot_rows", examples, ["climbs"])
    decided = [each for each in found if not each.extra[0]]
    right = sum(each.right for each in decided)
    return PilotAccuracy(n=len(decided), right=right, climbing=len(found) - len(decided))


def _inaccuracy(wanted: float, accuracy: PilotAccuracy | None) -> str | None:
    """Why `min_accuracy` does not hold, in words.

    It is held against the low end of the interval: of 20 rows 18 are right by luck under a prompt that gets 8 in 10.
    """
    if accuracy is None or accuracy.interval is None:
        climbing = accuracy.climbing if accuracy is not None else 0
        none = "has a true value and an answer that stands" if climbing else "has a true value"
        return f"none of its rows {none}, and min_accuracy is set: label rows of the input, or remove it"
    low, high = accuracy.interval
    if low >= wanted:
        return None
    words = f"{accuracy.right:,} of its {accuracy.n:,} rows with a true value are right, {accuracy.share:.1%} "
    words += f"({low:.1%} to {high:.1%}), min_accuracy is {wanted:.1%}"
    if wilson(accuracy.n, accuracy.n)[0] < wanted:
        words += f", which takes {fewest(wanted):,} such rows or more"
    return words


def _shortfalls(pilot: Pilot, totals: Mapping[str, Any], accuracy: PilotAccuracy | None) -> list[str]:
    """What the pilot does not keep of what `[pilot]` asks for, in words."""
    found = []
    share = totals["valid"] / totals["rows"] if totals["rows"] else 0.0
    if share < pilot.min_valid:
        found.append(f"{share:.1%} of its answers are valid, min_valid is {pilot.min_valid:.1%}")
    if pilot.min_accuracy is not None:
        missed = _inaccuracy(pilot.min_accuracy, accuracy)
        found += [missed] if missed else []
    if pilot.max_usd_per_row is not None:
        cost = totals["cost_usd"]
        if cost is None:
            found.append("what a row cost is not known, and max_usd_per_row is set")
        elif cost > pilot.max_usd_per_row * totals["rows"]:
            each = cost / max(totals["rows"], 1)
            found.append(f"a row cost ${each:.6f}, max_usd_per_row is ${pilot.max_usd_per_row}")
    return found


def _is_listed(resolved: Resolved, column: Column) -> bool:
    node = resolved.full_schema.get("properties", {}).get(column.name, {})
    return column.type == "BOOLEAN" or (isinstance(node, Mapping) and 0 < len(node.get("enum", ())) <= MOST_VALUES)


def _values(session: Session, column: Column) -> dict[str, int]:
    found = session.rows(query("pilot_values", value=value_sql(column, "output")))
    return {"null" if value is None else str(value): rows for value, rows in found}


def _histograms(session: Session, resolved: Resolved) -> dict[str, Histogram]:
    """Of each number that has both bounds, as a confidence has."""
    found = {}
    for column in resolved.columns:
        node = resolved.full_schema.get("properties", {}).get(column.name, {})
        low, high = (node.get("minimum"), node.get("maximum")) if isinstance(node, Mapping) else (None, None)
        if node.get("type") != "number" or low is None or high is None or low >= high:
            continue
        statement = query("pilot_histogram", value=f"({value_sql(column, 'output')})::DOUBLE")
        bins = dict(session.rows(statement, {"low": float(low), "high": float(high)}))
        rows = tuple(bins.get(number, 0) for number in range(BINS))
        found[column.name] = Histogram(low=float(low), high=float(high), rows=rows)
    return found
