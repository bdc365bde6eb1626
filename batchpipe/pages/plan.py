"""Show what a run would do: the plan of a pipeline with the prompt's change, its pilot, and what `check` finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from batchpipe.charts.columns import ChartColumn, columns
from batchpipe.charts.shares import BarShare, shares
from batchpipe.commands.check.check import Checked, check_file, checked_object
from batchpipe.commands.plan.chained import ChainPlanner, Planned, waiting_object
from batchpipe.commands.plan.due_work import MEANINGS, work_pairs
from batchpipe.commands.plan.pilot import pilot_object
from batchpipe.commands.plan.plan import plan_notes, plan_object
from batchpipe.commands.plan.prompt_diff import headline, row_text
from batchpipe.commands.printing.text import count, key_text, money
from batchpipe.common.errors import PipelineError, Problem
from batchpipe.engine.context import Context
from batchpipe.engine.plan.plan import REASONS
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.plan.prompt_diff import PromptDiff, PromptDiffOptions
from batchpipe.engine.resolved.recorded_recipes import under_recorded_recipes, with_stored_keys
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pilot import PilotLook, approve_pilot, look_at_pilot
from batchpipe.engine.run.pilot_summary import Histogram, PilotRow, PilotSummary
from batchpipe.engine.run.preview import Preview
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.html.blocks import (
    Ask,
    Block,
    Cell,
    Choices,
    Command,
    Diff,
    Figure,
    Figures,
    Fold,
    Legend,
    Pairs,
    Picture,
    Section,
    Sentences,
    Table,
    Text,
)
from batchpipe.html.links import SERVED
from batchpipe.pages.page import Query
from batchpipe.pages.site import Site
from batchpipe.pipeline.model import PipelineFile
from batchpipe.schema import exact_json
from batchpipe.store.database import Work


def plan_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return the plan, once it is asked for: it reads the whole input."""
    if query.values.get("show") != "now":
        words = "A plan reads the whole input, and sends nothing."
        action = SERVED.page(query.pipeline, "plan") or ""
        ask = Choices(action=action, kept=[("show", "now")], button="Make the plan")
        return [Section(title="Plan", blocks=[Sentences(found=[words]), ask])]
    planned, found = _planned(site, query, diff=True)
    done, estimate = found.plan, found.plan.estimate
    figures = [
        Figure(value=count(done.input), words="rows in the input"),
        Figure(value=count(done.due), words="rows are due"),
        Figure(value=count(found.requests), words=f"requests in {count(found.batches, 'batch', 'batches')}"),
        Figure(value=money(estimate.cost_usd), words=f"expected, {money(estimate.max_usd)} at most"),
    ]
    rows: list[Sequence[Text]] = [
        [word, count(done.rows_by_reason[word]), MEANINGS[word]] for word in REASONS if done.rows_by_reason[word]
    ]
    table = Table(title="rows by reason", header=("", "rows", ""), rows=rows, right=(1,), empty="The input is empty.")
    pairs: list[tuple[str, Text]] = [(name, words) for name, words in work_pairs(found.resolved, done) if words]
    waits = [f"Unknown until {', '.join(planned.waits_for)} is answered: an estimate."] if planned.waits_for else []
    notes = [*waits, *planned.hints, *plan_notes(found, site.call.suggest)]
    run = Command(words="To run it:", command=site.call.suggest(f"run {query.pipeline}"))
    sections = [
        Section(blocks=[Figures(found=figures)], bare=True),
        Section(title="Rows by reason", blocks=[table], half=True),
        Section(title="What is sent", blocks=[Pairs(found=pairs), run], half=True),
    ]
    if notes:
        sections.append(Section(title="To know", blocks=[Sentences(found=notes, listed=True)]))
    if found.diff is not None:
        sections.append(Section(title="The prompt's change", blocks=_diff(found.diff)))
    return sections


def plan_value(site: Site, query: Query) -> dict[str, Any]:
    """Return what `plan NAME --json` prints."""
    planned, found = _planned(site, query, diff=False)
    whole = plan_object(found)
    return waiting_object(planned, whole) if planned.waits_for else whole


def pilot_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return the pilot of the present prompt version, and the button that approves it."""
    found, resolved = _look(site, site.file(query.pipeline))
    if found is None or found.state.settled:
        words = "The present prompt needs no pilot." if found is None else "The pilot is approved, or was not needed."
        how = Command(
            words="To begin one for a new prompt:", command=site.call.suggest(f"run {query.pipeline} --pilot 50")
        )
        return [Section(title="Pilot", blocks=[Sentences(found=[words]), how])]
    if found.summary is None:
        state = found.state
        words = f"{count(state.sent, 'row')} sent, {count(state.in_flight)} of them at the provider."
        if not state.sent:
            words = f"The pilot of {count(state.pilot.rows, 'row')} has not begun."
        run = Command(words="To go on:", command=site.call.suggest(f"run {query.pipeline}"))
        return [Section(title="Pilot", blocks=[Sentences(found=[words]), run])]
    return _pilot(site, resolved.name, found, found.summary)


def pilot_value(site: Site, query: Query) -> dict[str, Any] | None:
    """Return the `pilot` of `run --json`; None where no pilot has come back."""
    found, _ = _look(site, site.file(query.pipeline))
    return pilot_object(found.summary) if found is not None and found.summary is not None else None


def approve(site: Site, query: Query, rows: int) -> str:
    """Record the approval of the pilot of `rows` rows, and return what comes next."""
    file = site.file(query.pipeline)
    with site.context() as context, closing(context.work()) as work, _resolved(context, work, file) as read:
        approve_pilot(context, work, read[0], query.person, rows)
    return f"Approved by {query.person}. The rest is sent by: {site.call.suggest(f'run {query.pipeline}')}"


def checks_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return what `check` finds in each file."""
    sections = []
    for each in _checked(site):
        blocks: list[Block] = [_problem("problem", one, "bad") for one in each.problems]
        blocks += [_problem(one.code, one.problem, "soft") for one in each.warnings]
        colour = "red" if each.problems else "amber" if each.warnings else "green"
        words = "It cannot run." if each.problems else "It can run." if not each.warnings else "It can run; read these."
        head = Pairs(found=[(each.file, Cell(text=words, state=colour))])
        sections.append(Section(title=each.pipeline, blocks=[head, *blocks]))
    return sections or [Section(title="Checks", blocks=[Sentences(found=["There is no pipeline yet."])])]


def checks_value(site: Site, query: Query) -> list[dict[str, Any]]:
    """Return what `check --json` prints."""
    return [checked_object(each) for each in _checked(site)]


def _planned(site: Site, query: Query, *, diff: bool) -> tuple[Planned, Preview]:
    """Return the plan as the command makes it. Raises what kept it from being made."""
    file = site.file(query.pipeline)
    with site.context() as context, context.temporary_folder("expected-") as folder:
        options = PromptDiffOptions(wanted=diff)
        planner = ChainPlanner(context=context, folder=folder, due_rows=False, diff=options)
        [planned] = planner.plans([file], {file.pipeline.name: RunOptions()})
    if planned.error is not None:
        raise planned.error
    assert planned.found is not None
    return planned, planned.found


def _diff(found: PromptDiff) -> list[Block]:
    if found.before is None:
        return [Sentences(found=["Nothing is answered yet: there is no earlier prompt."], tone="soft")]
    blocks: list[Block] = [Sentences(found=[f"{found.before.label} → {found.after.label}"], tone="soft")]
    blocks += [Diff(text=each.diff) for each in found.prompt] or [Sentences(found=["The prompt is the same."])]
    if found.problem is not None:
        blocks.append(Sentences(found=[f"Requests cannot be rendered by it any more: {found.problem}"], tone="bad"))
    for each in found.rows:
        title = f"{key_text(each.key)}: {headline(found, each)}"
        blocks.append(Fold(title=title, blocks=[Diff(text=row_text(found, each))], open=False))
    return blocks


def _pilot(site: Site, name: str, look: PilotLook, found: PilotSummary) -> Sequence[Section]:
    rest = f"{count(found.rest_requests, 'request')}, about {money(found.rest.cost_usd)}"
    figures = [
        Figure(value=count(found.rows), words="rows went first"),
        Figure(value=f"{found.valid_share:.1%}", words="have a valid answer"),
        Figure(value=money(found.cost_usd), words="they cost"),
        Figure(value=money(found.rest.cost_usd), words=f"the rest, {money(found.rest.max_usd)} at most"),
    ]
    accuracy = found.accuracy
    if accuracy is not None and accuracy.share is not None:
        made_up = "; made up, as the emulator's answers are" if accuracy.made_up else ""
        words = f"right of {count(accuracy.n, 'row')} with a true value{made_up}"
        figures.insert(2, Figure(value=f"{accuracy.share:.1%}", words=words))
    blocks: list[Block] = [Sentences(found=[f"{found.gate_reason}."])]
    if not site.door.read_only:
        blocks.append(_ask(name, look, found, rest))
    values = [_values(field, numbers) for field, numbers in found.values.items() if numbers]
    charts = [_histogram(field, each) for field, each in found.histograms.items()]
    reasons: list[Sequence[Text]] = [[outcome, error, count(rows)] for outcome, error, rows in found.reasons]
    sections = [
        Section(blocks=[Figures(found=figures)], bare=True),
        Section(title="The gate", blocks=blocks),
        *values,
        *(Section(title=field, blocks=[Picture(chart=chart)], half=True) for field, chart in charts),
    ]
    if reasons:
        table = Table(title="not valid", header=("outcome", "error", "rows"), rows=reasons, right=(2,))
        sections.append(Section(title="Not valid", blocks=[table]))
    examples = Table(
        title="examples", header=("key", "input", "answer"), rows=[_example(each, name) for each in found.examples]
    )
    return [*sections, Section(title="Examples", blocks=[examples])]


def _ask(name: str, look: PilotLook, found: PilotSummary, rest: str) -> Ask:
    return Ask(
        action=f"{SERVED.page(name, 'approve')}?rows={look.state.sent}",
        button="Approve the pilot",
        title=f"Approve the pilot of {name}?",
        figures=[
            ("rows of the pilot", count(found.rows)),
            ("valid", f"{found.valid_share:.1%}"),
            ("it cost", money(found.cost_usd)),
            ("then due", rest),
            ("at most", money(found.rest.max_usd)),
        ],
        confirm="Approve",
    )


def _values(field: str, numbers: Any) -> Section:
    colours = ("blue", "purple", "amber", "green", "pink", "grey", "orange", "red")
    ordered = sorted(numbers.items(), key=lambda each: (-each[1], each[0]))
    parts = [
        BarShare(name=value, number=number, colour=colours[min(place, len(colours) - 1)])
        for place, (value, number) in enumerate(ordered)
    ]
    named = Legend(found=[(f"{each.name} {each.number}", each.colour) for each in parts])
    return Section(title=field, blocks=[Picture(chart=shares(field, parts)), named], half=True)


def _histogram(field: str, found: Histogram) -> tuple[str, Any]:
    width = (found.high - found.low) / max(len(found.rows), 1)
    bars = [
        ChartColumn(name=f"{found.low + number * width:g}", parts=[float(rows)])
        for number, rows in enumerate(found.rows)
    ]
    return field, columns(field, ["rows"], bars, of="from")


def _example(found: PilotRow, name: str) -> Sequence[Text]:
    answer = exact_json.dumps(found.output) if found.output is not None else f"({found.error})"
    asked = " | ".join(value for value in found.input.values() if value)
    key = found.key[0] if len(found.key) == 1 else exact_json.dumps(list(found.key))
    return [Cell(text=key, href=SERVED.row(name, found.key)), asked[:300], answer[:300]]


def _look(site: Site, file: PipelineFile) -> tuple[PilotLook | None, Resolved]:
    with site.context() as context, closing(context.work()) as work, _resolved(context, work, file) as read:
        resolved, snapshot, folder = read
        planner = Planner(
            resolved=resolved, database=context.database, work=work, folder=folder, prices=context.prices()
        )
        return look_at_pilot(context, work, planner, snapshot), resolved


@contextmanager
def _resolved(context: Context, work: Work, file: PipelineFile) -> Iterator[tuple[Resolved, Snapshot, Path]]:
    """Yield the pipeline resolved over its present input, under the recipes that are recorded."""
    with context.temporary_folder("pilot-") as folder:
        with context.source(file, {}) as source:
            resolved = context.resolve(file, source)
            snapshot = source.snapshot(folder / "input.parquet", resolved.input_columns)
        snapshot.make_room(work.memory)
        with context.database.reading(work) as session:
            resolved = under_recorded_recipes(session, resolved)
            snapshot = with_stored_keys(session, resolved, snapshot, folder / "keyed.parquet")
        yield resolved, snapshot, folder


def _checked(site: Site) -> list[Checked]:
    files, problems = site.files()
    found = []
    for stem, error in problems.items():
        assert isinstance(error, PipelineError)
        found.append(Checked(pipeline=stem, file=f"pipelines/{stem}.toml", problems=error.problems))
    with site.context() as context:
        return found + [check_file(context, each, {}) for each in files]


def _problem(kind: str, found: Problem, tone: str) -> Block:
    return Pairs(found=[(kind, Cell(text=f"{found.where}: {found.what}", tone=tone, below=found.hint))])
