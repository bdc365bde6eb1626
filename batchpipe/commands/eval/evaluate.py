"""Run `batchpipe eval`: measure quality against gold rows, by model and for the ladder, and gate CI with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from batchpipe.commands.call.call import WAIT_SECONDS, Call
from batchpipe.commands.call.exits import DONE, FAILED_ROWS, PENDING
from batchpipe.commands.call.options import EvalRequest
from batchpipe.commands.call.params import split_params, typed_params
from batchpipe.commands.eval.agreement import prepare_rows
from batchpipe.commands.eval.gate import read_bars, versus_object
from batchpipe.commands.eval.history import history, record_evaluation, remember_tuned
from batchpipe.commands.eval.html import eval_file
from batchpipe.commands.eval.judges import judges_object
from batchpipe.commands.eval.measured import known_gold_rows, make_report, measure_version, refuse_few
from batchpipe.commands.eval.person import read_person
from batchpipe.commands.eval.quality import quality_object
from batchpipe.commands.eval.refusals import EVERY, refuse
from batchpipe.commands.eval.report import EvalReport, report_markdown, report_text
from batchpipe.commands.eval.tune import Tuned, promise_of, tune_ladder, tuned_object, tuned_text, write_plot
from batchpipe.commands.eval.value_claims import value_claims
from batchpipe.commands.printing.gold import reviewed_object
from batchpipe.commands.printing.markdown import fence
from batchpipe.commands.printing.text import moment
from batchpipe.commands.run.run import PATIENCE_SECONDS, dollars, run_display, wait_seconds
from batchpipe.commands.run.views import Watcher
from batchpipe.common.errors import GateError, UsageError
from batchpipe.engine.batches.free_decisions import record_prompt
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.locks import pipeline_lock
from batchpipe.engine.ledger.renames import record_rename, with_histories
from batchpipe.engine.plan.history_gate import refuse_renamed
from batchpipe.engine.quality.evaluate import Contender, EvaluatedPrompt, Evaluation
from batchpipe.engine.quality.judges import Judged
from batchpipe.engine.quality.prepare import Wanted
from batchpipe.engine.resolved.recorded_recipes import under_recorded_recipes
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.resolved.versions import KnownVersion, find_version, known_versions, read_version
from batchpipe.engine.run.first_look import look_before_evaluation, take_in_evaluations
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.runner import run_pipelines
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.evaluation.library import scipy_stats
from batchpipe.html.render import report_path, write_report
from batchpipe.pipeline.evaluations import BOUGHT, EVALUATION, SEPARATOR
from batchpipe.pipeline.load import dump
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Work
from batchpipe.store.queries import query


def evaluate(call: Call, request: EvalRequest) -> int:
    """Let models answer the gold rows that they have not answered yet, and report how good the answers are.

    Return 0, 1 where the quality is too low, or 5 while batches are in flight.
    """
    file = call.one_pipeline(request.pipeline, "eval NAME")
    params = typed_params([file], split_params(request.params))[file.pipeline.name]
    page = report_path(call.path(request.html), request.html) if request.html is not None else None
    if request.history:
        return history(call, file, page)
    if request.plot is not None and not call.path(request.plot).parent.is_dir():
        hint = f"Make it: mkdir -p {shlex.quote(str(call.path(request.plot).parent))}"
        raise UsageError("there is no such folder", where=f"--plot {request.plot}", hint=hint)
    scipy_stats()  # a package that the report needs must be found missing before anything is sent
    patience = WAIT_SECONDS if request.no_wait else PATIENCE_SECONDS
    with call.context(patience) as context, closing(context.work()) as work:
        (file,) = with_histories(context.database, context.work, [file])
        made_up = call.settings.emulator and context.emulator_answers(file) is None
        refuse(request, made_up=made_up)
        for each in (*request.model, *([request.as_good_as] if request.as_good_as else [])):
            context.providers.of(context.providers.split(each)[0], where="--model")
        with _alone(context, file, request), context.temporary_folder("eval-") as folder:
            file, seen = look_before_evaluation(context, work, file)
            wanted = Wanted(
                every=_every(request),
                models=request.model,
                sample=request.sample,
                params=params,
                against=_against(context, work, file, request),
            )
            evaluation = prepare_rows(context, work, file, request, wanted, folder)
            bars = read_bars(request.fail_under, [each.name for each in evaluation.gold.fields])
            claims = value_claims(request, evaluation.gold.fields, evaluation.sides[0].ladder)
            if request.tune:
                refuse_few(evaluation)
            labels = _record_versions(context, work, file, evaluation)
            take_in_evaluations(context, work, evaluation.sides[0].ladder, seen, lambda event: None)
            waiting, judged = _answer(call, request, context, evaluation)
            found = [measure_version(evaluation, *each) for each in zip(evaluation.sides, labels, strict=True)]
            known = None
            if request.tune and not waiting:
                known = known_gold_rows(evaluation, found[0], read_person(evaluation, request))
        tuned = None
        if known is not None:
            tuned = tune_ladder(context, file, params, known, promise_of(request, claims))
            if tuned.queue is not None and not made_up:
                remember_tuned(context, work, file, *tuned.queue)
        if not waiting and not made_up and request.sample is None and request.as_good_as is None:
            reviewed = evaluation.rows.reviewed.rows
            more = {"reviewed": reviewed} | found[0].choices
            record_evaluation(context, work, file, found[0].label, evaluation.sides[0], found[0].ladder, more)
    report = make_report(file, evaluation, found, judged, request, bars, made_up=made_up)
    if page is not None and not waiting:
        write_report(page, eval_file(report, tuned, moment(call.machine.clock()), with_rows=request.with_rows))
        call.say(f"written to {page}")
    if tuned is not None and request.plot is not None:
        write_plot(tuned, call.path(request.plot))
    _print(call, request, report, tuned, waiting=waiting)
    below = bool(report.shortfalls) or (tuned is not None and not tuned.tuning.reached)
    return PENDING if waiting else FAILED_ROWS if below else DONE


@contextmanager
def _alone(context: Context, file: PipelineFile, request: EvalRequest) -> Iterator[None]:
    """Let one evaluation with gold, and one against a model, go on at a time: two would ask the same models.

    Raises LockedError where another process is at it.
    """
    kind = EVALUATION if request.as_good_as is None else BOUGHT
    locks = context.database.make_folder("locks")
    with pipeline_lock(locks, f"{file.pipeline.name}{SEPARATOR}{kind}", context.clock()):
        yield


def _every(request: EvalRequest) -> bool:
    """Return whether every rung answers every row. Tuning needs it: it compares what each rung would say."""
    return request.models == EVERY or request.tune


def _against(context: Context, work: Work, file: PipelineFile, request: EvalRequest) -> Any:
    """Return the version that `--against` names, with its name."""
    if request.against is None:
        return None
    names = file.pipeline.names
    with context.database.reading(work) as session:
        known = known_versions(session, names)
    found = find_version(known, file.root, request.against, where="--against")
    if not isinstance(found, KnownVersion):
        return found.label, found
    with context.database.reading(work) as session:
        return found.version, read_version(session, names, found)


def _record_versions(context: Context, work: Work, file: PipelineFile, evaluation: Evaluation) -> list[str]:
    """Record the present prompt version, and return the names of both versions; each has its recorded identity.

    Writes `ledger.prompt_versions`. Raises GateError for a pipeline that looks like one that was renamed.
    """
    git_commit = context.git_commit()
    names = quote_list(file.pipeline.names)
    with context.database.writing(work, None) as session:
        evaluation.sides = tuple(
            replace(each, ladder=under_recorded_recipes(session, each.ladder)) for each in evaluation.sides
        )
        refuse_renamed(session, evaluation.sides[0].ladder, evaluation.rows.rows)
        run_id = session.new_id()
        record_rename(session, file, run_id)
        record_prompt(session, replace(evaluation.sides[0].ladder, toml=dump(file.pipeline)), run_id, git_commit)
        labels = []
        for side in evaluation.sides:
            version = {"prompt_version": side.ladder.version.prompt_version}
            numbers = session.rows(query("version_number", pipelines=names), version)
            known = str(numbers[0][0]) if numbers else ""
            both = f"{side.label}, {known}" if known and side.label != known else side.label
            labels.append(both if side.label else known)
    return labels


def _answer(
    call: Call, request: EvalRequest, context: Context, evaluation: Evaluation
) -> tuple[bool, tuple[Judged, ...]]:
    """Run what is not answered or judged yet, and return whether batches are still in flight, with the judges' results.

    Raises the error that stopped a run.
    """
    wait = wait_seconds(request.wait)
    until = None if wait is None else context.clock() + timedelta(seconds=wait)
    with run_display(call) as display:
        watcher = Watcher(call=call, display=display, yes=request.yes)
        context.ask, context.watch = watcher.ask if call.talks_to_person else None, watcher.watch
        waiting = any(
            bool(runs) and _run(runs, context, until, watcher)
            for runs in _rounds(request, context, evaluation, watcher)
        )
        given = evaluation.to_judge()
        runs = [_pipeline_run(request, context, (judge.resolved, rows), watcher) for judge, rows in given if rows.rows]
        if runs and not waiting:
            waiting = _run(runs, context, until, watcher)
    return waiting, evaluation.judged(given)


def _rounds(
    request: EvalRequest, context: Context, evaluation: Evaluation, watcher: Watcher
) -> Iterator[list[PipelineRun]]:
    """Yield the runs of each step. The runs of a step are made when the steps before it have ended.

    The other version goes first: answers to requests that both prompts share are known then.
    """
    for side in reversed(evaluation.sides):
        for step in _steps(side, every=_every(request)):
            yield _runs(request, context, evaluation, side, step, watcher)


def _run(runs: list[PipelineRun], context: Context, until: datetime | None, watcher: Watcher) -> bool:
    """Run the pipelines to their end, and return whether batches are still in flight.

    Raises the error that stopped a run, and GateError where one stopped at a gate.
    """
    wait = None if until is None else max((until - context.clock()).total_seconds(), 0.0)
    outcomes = run_pipelines(context, runs, wait_seconds=wait, show=watcher.show)
    for run, outcome in zip(runs, outcomes, strict=True):
        if outcome.error is not None:
            raise outcome.error
        if run.gate is not None:
            raise GateError(run.gate, where=run.file.where(), hint=run.gate_hint)
    return any(each.result.status == "pending" for each in outcomes)


def _steps(side: EvaluatedPrompt, *, every: bool) -> list[list[Contender]]:
    """Return who may answer at the same time: everybody, or one rung after the other, with the other models in the
    first step.

    Where everybody answers, rungs that vote come after the single models, whose answers are their votes then.
    """
    if every:
        single = [each for each in side.contenders if not each.resolved.file.pipeline.models[0].votes]
        return [step for step in (single, [each for each in side.contenders if each not in single]) if step]
    ladder = [each for each in side.contenders if each.on_ladder]
    others = [each for each in side.contenders if not each.on_ladder]
    return [[ladder[0], *others], *([each] for each in ladder[1:])]


def _runs(
    request: EvalRequest,
    context: Context,
    evaluation: Evaluation,
    side: EvaluatedPrompt,
    step: list[Contender],
    watcher: Watcher,
) -> list[PipelineRun]:
    """Return a run for each model that has rows to answer. Two rungs that differ only in `accept` share a run.

    Raises CredentialsError where the key of one of them or of a judge is missing: before any of them is sent anything.
    """
    runs: dict[str, PipelineRun] = {}
    for contender in step:
        prepared = evaluation.prepared(side, contender, every=_every(request))
        if prepared is None or prepared[0].name in runs:
            continue
        for asked in (prepared[0], *(judge.resolved for judge in evaluation.judges)):
            for name in asked.provider_names:
                context.providers_of(asked.file).named(name)
        runs[prepared[0].name] = _pipeline_run(request, context, prepared, watcher)
    return list(runs.values())


def _pipeline_run(
    request: EvalRequest, context: Context, prepared: tuple[Resolved, Snapshot], watcher: Watcher
) -> PipelineRun:
    return PipelineRun(
        context=context,
        file=prepared[0].file,
        options=RunOptions(no_wait=request.no_wait, approve=True, resume=True, max_usd=dollars(request.max_usd)),
        tell=watcher.tell,
        confirm=watcher.confirm,
        prepared=prepared,
    )


def _print(call: Call, request: EvalRequest, report: EvalReport, tuned: Tuned | None, *, waiting: bool) -> None:
    if waiting:
        call.say("Batches are in flight: the numbers are not complete yet. To go on, run the same command again.")
    if call.json:
        call.out(_object(report) | (tuned_object(tuned) if tuned is not None else {}))
        for each in (*report.notes, *(f"Not good enough: {each}." for each in report.shortfalls)):
            call.say(each)
    elif tuned is not None and request.as_good_as is not None:
        shown = "\n\n".join((tuned_text(tuned, call), *report.notes))
        call.out(fence(shown) if request.markdown else shown)
    elif not waiting and (not call.quiet or report.shortfalls):
        text = report_markdown(report) if request.markdown else report_text(report, terminal=call.terminal)
        shown = tuned_text(tuned, call) if tuned is not None else ""
        call.out(text + ("\n\n" + (fence(shown) if request.markdown else shown) if shown else ""))


def _object(report: EvalReport) -> dict[str, Any]:
    value: dict[str, Any] = {
        "pipeline": report.pipeline,
        "prompt_version": report.version,
        "gold": report.gold,
        "gold_from_review": reviewed_object(report.reviewed),
        "models": [quality_object(each) for each in report.models],
        "ladder": quality_object(report.ladder, with_rung=False) if report.ladder is not None else None,
    }
    if report.judged:
        value["judges"] = judges_object(report.judged)
    return value | ({"against": versus_object(report.against)} if report.against is not None else {})
