"""Say what a run would do: the plan under open orders and those that are only asked about. Nothing is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from batchpipe.common import modes
from batchpipe.common.errors import BatchpipeError, GateError, NoProviderError
from batchpipe.engine.context import Context
from batchpipe.engine.cost.budget import Limit, has_limit, limits, project_limits, tightest
from batchpipe.engine.cost.budget_waves import with_budget_waves
from batchpipe.engine.cost.realtime_caching import DearerBatches, dearer_batches
from batchpipe.engine.exchange.no_batches import no_batches_gate, recorded_modes
from batchpipe.engine.ledger.events import (
    NO_LOAD,
    NO_RUN,
    NOTHING_SPENT,
    Load,
    Spent,
    has_open,
    is_paused,
    open_load,
    spent,
)
from batchpipe.engine.ledger.renames import Link, linked_with, rename_links, with_history
from batchpipe.engine.ledger.unknown_chunks import NOTHING_UNKNOWN, UnknownChunks
from batchpipe.engine.local.hint_costs import HintCost, hint_costs
from batchpipe.engine.local.plan_part import Hints
from batchpipe.engine.output.child_tables import refuse_foreign_tables
from batchpipe.engine.output.unfit_keys import UnfitKeys, unfit_keys
from batchpipe.engine.plan.cache_marks import prefix_tokens
from batchpipe.engine.plan.edits import LadderEdit, TypeChange, ladder_edits, order_of, type_changes, with_cost
from batchpipe.engine.plan.history_gate import history_doubt, history_gate, keys_gate
from batchpipe.engine.plan.orders import Order, open_orders, orders_asked, orders_left
from batchpipe.engine.plan.plan import DUE_REASONS, Plan
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.plan.prompt_diff import (
    EarlierPrompt,
    NamedVersions,
    PromptDiff,
    PromptDiffOptions,
    find_named,
    make_prompt_diff,
    resolve_earlier,
)
from batchpipe.engine.realtime.local_run import begin_local
from batchpipe.engine.realtime.modes import RungModes
from batchpipe.engine.replay.take_in import raw_log
from batchpipe.engine.replay.where_free import vanished
from batchpipe.engine.resolved.recorded_recipes import under_recorded_recipes, with_stored_keys
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.resolved.versions import resolve_version
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pilot import pilot_gold, pilot_sample
from batchpipe.engine.run.previous_version import make_planner, plan_meanwhile
from batchpipe.engine.run.votes_ahead import with_votes_ahead
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.engine.upstream.expected import nothing_changes, write_expected_rows
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import Sql, quote_list, sql
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query

NO_PROMPT_DIFF = PromptDiffOptions()
FIRST_VERSION = "v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRow:
    """Describes a row that is due: its key as a JSON list of texts, and the reason."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Holds a plan and what surrounds it. Costs are US dollars.

    `version` is the prompt's name (`v3`), new where no run has recorded it. `spent_usd` is what counts against the
    limits; where none is set, it is not looked up and 0. `in_flight_usd` is what the batches in flight may cost at
    most. `unknown` are the chunks of the raw folder that a run takes in first. `gate` is where a run stops before it
    sends anything. `meanwhile` is the plan of what goes on under the previous version, beside a pilot.
    """

    resolved: Resolved
    plan: Plan
    version: str
    version_is_new: bool
    open_orders: Sequence[Order]
    limits: Sequence[Limit]
    spent_usd: Decimal
    in_flight_usd: Decimal
    batches_in_flight: int
    paused: bool
    unknown: UnknownChunks = NOTHING_UNKNOWN
    vanished: Sequence[str] = ()  # pipelines without a file whose chunks a run takes in, too
    diff: PromptDiff | None = None
    gate: GateError | None = None  # where a run stops
    edits: Sequence[LadderEdit] = ()
    meanwhile: Plan | None = None  # what goes on under the version before, beside a pilot
    type_changes: Sequence[TypeChange] = ()
    unfit_keys: UnfitKeys | None = None
    dearer: Sequence[DearerBatches] = ()
    hints: Hints | None = None  # what says what templates ask of the local model
    due_rows: Sequence[DueRow] = ()
    hint_costs: Sequence[HintCost] = ()
    unaskable: Sequence[NoProviderError] = ()  # one for each address of open batches that no provider has
    assumed: Sequence[str] = ()  # providers of the settings that are taken to have batches, since nothing says so

    @property
    def requests(self) -> int:
        """Return how many requests would be sent."""
        return self.plan.requests + (self.meanwhile.requests if self.meanwhile else 0)

    @property
    def batches(self) -> int:
        """Return how many batches would be sent."""
        return self.plan.batches + (self.meanwhile.batches if self.meanwhile else 0)

    @property
    def over(self) -> Sequence[Limit]:
        """Return the limits that the expected cost does not fit, with what is in flight at its expected cost."""
        cost = self.plan.estimate.cost_usd
        return [each for each in self.limits if cost is not None and cost > each.expected_left_usd]

    @property
    def has_limit_without_price(self) -> bool:
        """Return whether money is limited and a model to be asked has no price: then a run sends nothing."""
        return bool(self.limits and self.requests) and self.plan.estimate.cost_usd is None


def preview(
    context: Context,
    file: PipelineFile,
    options: RunOptions,
    *,
    due_rows: bool = False,
    diff: PromptDiffOptions = NO_PROMPT_DIFF,
    expected: Path | None = None,
    links: Sequence[Link] | None = None,
) -> Preview:
    """Return what `run` with `options` would do with `file` now, or if the prompt were `diff.to_version`.

    `expected` is the file that gets the rows of the output table as they are expected to be then; it is not made where
    the table has them already. `links` are the recorded renames, where they are known.
    Raises PipelineError and InputError as `run` does, UsageError for a version that there is not.
    """
    work = context.work()
    try:
        if links is None:
            with context.database.reading(work) as session:
                links = rename_links(session)
        file = with_history(file, links)
        named = find_named(context.database, work, file, diff)
        with context.temporary_folder("plan-") as folder:
            resolved, snapshot, before = _read_input(context, file, options, folder, named)
            found = _planned(context, work, resolved, snapshot, options, links, folder, expected)
            found = replace(found, due_rows=_due_rows(work) if due_rows else ())
            if not diff.wanted:
                return found
            label = named.after.label if named.after else "now" if found.version_is_new else found.version
            shown = make_prompt_diff(
                context.database,
                work,
                found.resolved,
                snapshot,
                label=label,
                before=before,
                past=named.past,
                providers=context.providers,
                hints=found.hints,
            )
            return replace(found, diff=shown)
    finally:
        work.close()


def _read_input(
    context: Context, file: PipelineFile, options: RunOptions, folder: Path, named: NamedVersions
) -> tuple[Resolved, Snapshot, EarlierPrompt | None]:
    """Resolve the pipeline under the version that is asked about, and read the input into a snapshot."""
    providers = context.providers
    with context.source(file, options.params, reads_only=True) as source:
        if named.after is None:
            resolved = context.resolve(file, source)
        else:
            resolved = resolve_version(named.after, file, source, providers)
        before = resolve_earlier(named.before, resolved, source, named.past, providers) if named.before else None
        return resolved, source.snapshot(folder / "input.parquet", resolved.input_columns), before


def _planned(
    context: Context,
    work: Work,
    resolved: Resolved,
    snapshot: Snapshot,
    options: RunOptions,
    links: Sequence[Link],
    folder: Path,
    expected: Path | None,
) -> Preview:
    """Plan under the open orders and those that are asked for, and put the money and the batches beside the plan.

    The file `expected` gets what `preview` says. Reads the ledger. Writes the tables of `Planner.plan`.
    """
    gold = pilot_gold(context, work, resolved, options.pilot)
    with context.database.reading(work) as session:
        resolved = under_recorded_recipes(session, resolved)
        snapshot = with_stored_keys(session, resolved, snapshot, folder / "keyed.parquet")
        recorded = orders_left(open_orders(session, resolved), options.withdraw)
        orders = [*recorded, *orders_asked(session, resolved, options.orders, options.where, recorded)]
        sample = pilot_sample(session, resolved, gold, options.pilot, emulator=context.settings.emulator)
        busy, gate = _load(session, resolved, options), _gate_at_the_beginning(session, resolved, snapshot)
    planner = make_planner(context, work, resolved, folder, linked_with(resolved.file, resolved.names, links))
    begin_local(context, planner, snapshot, None)
    modes = RungModes(planner=planner, resolved=resolved, by=options.by)
    plan = modes.plan(snapshot, orders, replace(options.plan, sample=sample), in_flight=busy.batches > 0)
    with context.database.reading(work) as session:
        named, paused = _version(session, resolved), is_paused(session, resolved.names)
        changes, unfit = type_changes(session, resolved, plan), unfit_keys(session, resolved)
        plan, money, found_limits = _under_limits(session, resolved, plan, options, busy)
        lost = [] if context.settings.emulator else context.providers_without_file().without(session, resolved.names)
        unknown, edits = raw_log(context).unknown(session, resolved.names), _further_edits(session, resolved, orders)
        modes_of, no_batches = _modes(session, context, resolved, plan)
        if expected is not None and not (nothing_changes(session, resolved, plan) and not changes):
            write_expected_rows(session, resolved, plan.snapshot, expected)
    plan = with_votes_ahead(context, planner, resolved, plan, options, options.orders, folder / "votes")
    return Preview(
        resolved=resolved,
        plan=plan,
        version=named[0],
        version_is_new=named[1],
        open_orders=recorded,
        limits=found_limits,
        spent_usd=money.ever,
        in_flight_usd=busy.max_usd,
        batches_in_flight=busy.batches,
        paused=paused,
        unknown=unknown,
        vanished=vanished(resolved.file, unknown),
        gate=gate or keys_gate(context.database, work, resolved, plan) or no_batches,
        unaskable=lost,
        assumed=modes_of,
        hints=planner.hints,
        hint_costs=_hint_costs(planner),
        dearer=_dearer(planner, plan),
        edits=[_priced(each, context, plan, planner, orders, options, folder) for each in edits],
        meanwhile=_meanwhile(context, work, plan, resolved, options, folder),
        type_changes=changes,
        unfit_keys=unfit,
    )


def _gate_at_the_beginning(session: Session, resolved: Resolved, snapshot: Snapshot) -> GateError | None:
    """Return the gate at which a run would stop before it makes its tables; None where there is none.

    Reads the ledger. Raises PipelineError where a table of somebody else stands in the place of one of its own.
    """
    doubt = history_doubt(session, resolved)
    gate = history_gate(session, resolved, snapshot, doubt) if doubt is not None else None
    if gate is None:
        refuse_foreign_tables(session, resolved)
    return gate


def _load(session: Session, resolved: Resolved, options: RunOptions) -> Load:
    """Return what is open; nothing is looked up where nothing is open and no limit is set. Reads the ledger."""
    needed = has_open(session) or has_limit(resolved.file, options.max_usd)
    return open_load(session, resolved.names, NO_RUN) if needed else NO_LOAD


def _under_limits(
    session: Session, resolved: Resolved, plan: Plan, options: RunOptions, busy: Load
) -> tuple[Plan, Spent, Sequence[Limit]]:
    """Return the plan with its time under the limits, what was spent, and the limits; nothing is read without limits.

    `busy` is what is open. Reads the ledger, `work.to_send`.
    """
    if not has_limit(resolved.file, options.max_usd):
        return plan, NOTHING_SPENT, ()
    budget = resolved.file.pipeline.budget
    money, further = spent(session, resolved.names, NO_RUN), project_limits(session, resolved.file, NO_RUN)
    limit = tightest(budget, options.max_usd, money, busy, further)
    if limit is not None:
        plan = replace(plan, estimate=with_budget_waves(session, resolved, plan.chunks, plan.estimate, limit, busy))
    return plan, money, (*limits(budget, None, money, busy), *further)


def _further_edits(session: Session, resolved: Resolved, orders: Sequence[Order]) -> list[LadderEdit]:
    """Return the edits of the ladder that no order goes by.

    Reads the ledger.
    """
    asked = {each.argument for each in orders if each.kind == "redo"}
    return [each for each in ladder_edits(session, resolved) if each.argument not in asked]


def _dearer(planner: Planner, plan: Plan) -> Sequence[DearerBatches]:
    """Return the rungs whose batches cost more than realtime calls that find the shared prefix in the cache."""
    tokens = prefix_tokens(planner.resolved)
    return dearer_batches(planner.resolved, planner.prices, plan.estimate, tokens, planner.now.date())


def _hint_costs(planner: Planner) -> Sequence[HintCost]:
    """Return what the values that templates ask for cost, beside the whole list."""
    resolved = planner.resolved
    return hint_costs(resolved, planner.hints, planner.prices, planner.now.date(), prefix_tokens(resolved))


def _modes(
    session: Session, context: Context, resolved: Resolved, plan: Plan
) -> tuple[Sequence[str], GateError | None]:
    """Return the providers that nobody has said to take batches, and the gate if one is known to take none.

    The built-in providers at their own addresses take batches. Reads `ledger.batches`, `ledger.events`.
    """
    in_batches = [resolved.provider_of(each) for each in resolved.rungs if each.mode == "batch"]
    asked = {each.name: each for each in in_batches if not each.own_address}
    if not asked or not plan.requests or context.settings.emulator:
        return (), None
    urls = {}
    for name, known in asked.items():
        if known.mode is None:
            with suppress(BatchpipeError):  # a variable of the address is not set, which the run says
                urls[name] = context.providers_of(resolved.file).url(name)
    recorded = recorded_modes(session, list(urls.values()))
    without = next((name for name, url in urls.items() if recorded.get(url) == "realtime"), None)
    gate = no_batches_gate(resolved, asked[without], urls[without], plan.estimate) if without is not None else None
    return [name for name, url in urls.items() if url not in recorded], gate


def _meanwhile(
    context: Context, work: Work, plan: Plan, resolved: Resolved, options: RunOptions, folder: Path
) -> Plan | None:
    """Plan what goes on under the previous version, where a pilot holds rows back.

    Reads `work.due`.
    """
    if plan.held is None:
        return None
    keys = [key for (key,) in work.connection.execute(Sql("SELECT key FROM work.due")).fetchall()]
    return plan_meanwhile(context, resolved, plan.snapshot, options.plan, keys, folder / "meanwhile")


def _priced(
    edit: LadderEdit,
    context: Context,
    plan: Plan,
    planned_by: Planner,
    orders: Sequence[Order],
    options: RunOptions,
    folder: Path,
) -> LadderEdit:
    """Return `edit` with what its order would send and cost, planned in working tables of its own."""
    own = folder / f"redo-{edit.argument}"
    modes.make_folder(own, below=own)
    with closing(context.work()) as work:
        with context.database.reading(work) as session:
            order = order_of(session, planned_by.resolved, edit)
        planner = make_planner(context, work, planned_by.resolved, own)
        planner.local, planner.hints = planned_by.local, planned_by.hints
        redone = planner.plan(plan.snapshot, [*orders, order], options.plan)
        asked = [*options.orders, (order.kind, order.argument)]
        resolved = planned_by.resolved
        redone = with_votes_ahead(context, planner, resolved, redone, options, asked, own / "votes")
        return with_cost(edit, plan, redone)


def _version(session: Session, resolved: Resolved) -> tuple[str, bool]:
    """Return the name of the prompt version, and whether it is new.

    Reads `ledger.prompt_versions`.
    """
    if session.blank:
        return FIRST_VERSION, True
    names = quote_list(resolved.names)
    identity = {"prompt_version": resolved.version.prompt_version}
    found = session.rows(query("version_number", pipelines=names), identity)
    if found:
        return str(found[0][0]), False
    return str(session.one(query("next_version_number", pipelines=names))[0]), True


def _due_rows(work: Work) -> list[DueRow]:
    """Return the rows that are due, by reason and in the order of the input.

    Reads `work.plan`.
    """
    reasons = quote_list(DUE_REASONS)
    found = work.connection.execute(
        sql("SELECT key, reason FROM work.plan WHERE reason IN ({reasons}) ORDER BY reason, position", reasons=reasons)
    )
    return [DueRow(key=key, reason=reason) for key, reason in found.fetchall()]
