"""Run and plan several pipelines of a project together, as `run --all` and `plan --all` do."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from batchpipe.commands.plan.chained import ChainPlanner
from batchpipe.commands.run.notices import tell_ends
from batchpipe.commands.run.result import FinishedPipeline
from batchpipe.common.errors import BatchpipeError, PipelineError
from batchpipe.engine.context import Context
from batchpipe.engine.notices.deliver import require_trust
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.preview import NO_PROMPT_DIFF
from batchpipe.engine.run.result import RunResult
from batchpipe.engine.run.runner import run_pipelines
from batchpipe.library.logger import LOGGER
from batchpipe.library.planned import plan_of_planned
from batchpipe.library.progress import observer
from batchpipe.library.runs import RunCall, ended_result
from batchpipe.library.surroundings import RUN_WAIT_SECONDS, WAIT_SECONDS, Surroundings
from batchpipe.library.values import Plan, Result
from batchpipe.pipeline.model import PipelineFile
from batchpipe.project.project import find_pipelines, refuse_same_names

Value = TypeVar("Value", Plan, Result)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByPipeline(Mapping[str, Value]):
    """What several pipelines come to, by their names, in the order in which they go.

    A pipeline in `errors` has no value: to ask for it raises its error.
    """

    values_by_name: Mapping[str, Value]
    errors: Mapping[str, BatchpipeError] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Value:
        """Return the value of a pipeline. Raises its error where it has one, KeyError where it is not there."""
        if name in self.errors:
            raise self.errors[name]
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the pipelines that have a value."""
        return iter(self.values_by_name)

    def __len__(self) -> int:
        """Return how many pipelines have a value."""
        return len(self.values_by_name)

    def _repr_html_(self) -> str:
        """Return a table for each pipeline, and the errors, for a notebook."""
        tables = "".join(each._repr_html_() for each in self.values_by_name.values())
        return tables + "".join(
            f"<p>{html.escape(name)}: {html.escape(str(error))}</p>" for name, error in self.errors.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenFiles:
    """The pipelines of a call: the `files` that can be read, and by their stems the errors of the others."""

    files: Sequence[PipelineFile]
    errors: Mapping[str, BatchpipeError]


def chosen_files(around: Surroundings, names: Sequence[str] | None) -> ChosenFiles:
    """Return the pipelines that `names` name, or all of the project. A file that is wrong does not stop the others.

    Raises UsageError for a name that is none, PipelineError where two files have pipelines of the same name.
    """
    found = find_pipelines(list(names or ()), around.root, all=names is None, start=Path.cwd())
    files: list[PipelineFile] = []
    errors: dict[str, BatchpipeError] = {}
    for path in found.paths:
        try:
            files.append(around.load(path.absolute()))
        except PipelineError as error:
            errors[path.stem] = error
    refuse_same_names(files)
    return ChosenFiles(files=files, errors=errors)


def plan_several(
    around: Surroundings, chosen: ChosenFiles, options: RunOptions, *, with_upstream: bool, raises: bool
) -> ByPipeline[Plan]:
    """Return the plans of the pipelines, each by the rows that are expected of those that it reads.

    Raises the first error once all are planned, where that is asked for.
    """
    plans: dict[str, Plan] = {}
    errors = dict(chosen.errors)
    with around.context() as context, context.temporary_folder("expected-") as folder:
        own = _options_of(context, chosen, options, with_upstream=with_upstream)
        planner = ChainPlanner(context=context, folder=folder, due_rows=False, diff=NO_PROMPT_DIFF)
        for planned in planner.plans([file for file, _ in own], {file.pipeline.name: each for file, each in own}):
            name = planned.file.pipeline.name
            if planned.error is not None:
                errors[name] = planned.error
            else:
                plans[name] = plan_of_planned(planned, around.suggest)
    if raises:
        _raise_first(errors, dict.fromkeys(plans, "planned"))
    return ByPipeline(values_by_name=plans, errors=errors)


def run_several(
    around: Surroundings, chosen: ChosenFiles, call: RunCall, *, with_upstream: bool, raises: bool
) -> ByPipeline[Result]:
    """Run the pipelines in one loop, each after those that it reads, and return their results.

    Raises the first error once all have ended, where that is asked for; KeyboardInterrupt after an interrupt.
    """
    patience = WAIT_SECONDS if call.options.no_wait else RUN_WAIT_SECONDS
    with around.context(patience) as context, observer(call.progress, context.clock, call.stop) as observed:
        context.watch = observed.watch
        require_trust(context)
        runs: dict[Path, PipelineRun] = {}
        for file, options in _options_of(context, chosen, call.options, with_upstream=with_upstream):
            runs[file.path] = PipelineRun(
                context=context,
                file=file,
                options=options,
                tell=observed.tell,
                confirm=call.confirm,
                after=[runs[each.path] for each in context.chain.reads(file).upstream if each.path in runs],
            )
        run_pipelines(context, list(runs.values()), wait_seconds=call.wait_seconds, show=observed.show)
        observed.show(list(runs.values()))
        ended = {run.name: ended_result(run) for run in runs.values()}
        if around.settings.notify is not None:
            told = [each for each, _ in ended.values()]
            told += [_not_begun(name, error) for name, error in chosen.errors.items()]
            tell_ends(context, told, {run.name: run.file.pipeline.names for run in runs.values()}, LOGGER.warning)
    errors = {**chosen.errors, **{run.name: run.error for run in runs.values() if run.error is not None}}
    results = {name: result for name, (_, result) in ended.items() if name not in errors}
    if raises:
        _raise_first(errors, {name: each.status for name, each in results.items()})
    return ByPipeline(values_by_name=results, errors=errors)


def _options_of(
    context: Context, chosen: ChosenFiles, options: RunOptions, *, with_upstream: bool
) -> list[tuple[PipelineFile, RunOptions]]:
    """Return the pipelines in the order in which they go, each with its options.

    The options about rows hold for the chosen ones, not for those that only come in because these read them.
    Raises PipelineError for pipelines that read each other in a circle.
    """
    files = context.chain.with_upstream(chosen.files) if with_upstream else context.chain.ordered(chosen.files)
    paths = {each.path for each in chosen.files}
    found = []
    for file in files:
        own = RunOptions(max_usd=options.max_usd, no_wait=options.no_wait)
        if file.path in paths:
            declared = file.pipeline.input.params
            params = {name: value for name, value in options.params.items() if name in declared}
            own = replace(options, params=params)
        found.append((file, own))
    return found


def _not_begun(name: str, error: BatchpipeError) -> FinishedPipeline:
    return FinishedPipeline(result=RunResult.begun_only(name, "", None, error), table=name)


def _raise_first(errors: Mapping[str, BatchpipeError], others: Mapping[str, str]) -> None:
    """Raise the first error, with a note that says how the other pipelines ended."""
    if not errors:
        return
    error, *_ = errors.values()
    for name, each in list(errors.items())[1:]:
        error.add_note(f"{name}: {each}")
    for name, words in others.items():
        error.add_note(f"{name}: {words}")
    raise error
