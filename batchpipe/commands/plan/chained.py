"""Plan pipelines that read each other, each after those that it reads, over the rows that are expected from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchpipe.commands.plan.due_work import work_text
from batchpipe.commands.printing.text import safe
from batchpipe.common.errors import BatchpipeError, InputError
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.renames import Link, rename_links
from batchpipe.engine.plan.prompt_diff import PromptDiffOptions
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.preview import Preview, preview
from batchpipe.engine.upstream.expected import with_usable_keys
from batchpipe.engine.upstream.wait import unfinished
from batchpipe.pipeline.model import PipelineFile

HOW = "labels as they are, or each as often as the others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The plan of one pipeline, or the `error` that kept it from being planned.

    `waits_for` are the pipelines that it reads and that are not complete: then the plan is an estimate. `expects` says
    that it is made over the rows that are expected there. `stops`: a run of this pipeline alone would stop at a gate.
    `hints` say why and how to go on.
    """

    file: PipelineFile
    found: Preview | None = None
    error: BatchpipeError | None = None
    waits_for: Sequence[str] = ()
    expects: bool = False
    stops: bool = False
    hints: Sequence[str] = ()

    @property
    def settled(self) -> bool:
        """Return whether the rows of its output table are known, because nothing is due or in flight."""
        if self.found is None or self.waits_for or self.found.gate is not None:
            return False
        plan = self.found.plan
        return not plan.due and not plan.rows_by_reason["pending"]


@dataclass(slots=True, kw_only=True)
class ChainPlanner:
    """Plans the pipelines of one call, in order. `folder` gets the rows that are expected of each."""

    context: Context
    folder: Path
    due_rows: bool
    diff: PromptDiffOptions
    _planned: dict[str, Planned] = field(default_factory=dict, init=False)
    _links: Sequence[Link] | None = field(default=None, init=False)

    def plans(self, files: Sequence[PipelineFile], options: Mapping[str, RunOptions]) -> Iterator[Planned]:
        """Yield the plan of each of `files`, which stand in order. `options` are by pipeline."""
        read = {each.name for file in files for each in self.context.chain.reads(file).upstream}
        for file in files:
            name = file.pipeline.name
            try:
                planned = self._one(file, options[name], is_read=name in read)
            except BatchpipeError as error:
                planned = Planned(file=file, error=error)
            self._planned[name] = planned
            yield planned

    def _one(self, file: PipelineFile, options: RunOptions, *, is_read: bool) -> Planned:
        upstream = self.context.chain.reads(file).upstream
        here = [each for each in upstream if each.name in self._planned]
        beside = [each for each in upstream if each.name not in self._planned]
        waits = {each.name: "" for each in here if not self._planned[each.name].settled}
        left = [each for each in unfinished(self.context, file, beside) if each.wait != "none"] if beside else []
        path = self.folder / f"{file.pipeline.name}.parquet"
        if self._links is None:
            with closing(self.context.work()) as work, self.context.database.reading(work) as session:
                self._links = rename_links(session)
        try:
            found = self._preview(file, options, path if is_read else None)
        except InputError:
            if not waits and not left:
                raise
            # The rows that are not there yet may be what gives the others their keys, as in an outer join.
            found = self._preview(with_usable_keys(file), options, path if is_read else None)
        if path.exists():
            self.context.expected_rows[file.pipeline.name] = path
        return Planned(
            file=file,
            found=found,
            waits_for=[*waits, *(each.pipeline for each in left)],
            expects=not left,
            stops=any(each.wait != "in_flight" for each in left),
            hints=[each.text for each in left],
        )

    def _preview(self, file: PipelineFile, options: RunOptions, expected: Path | None) -> Preview:
        return preview(
            self.context,
            file,
            options,
            due_rows=self.due_rows,
            diff=self.diff,
            expected=expected,
            links=self._links,
        )


def waiting_object(planned: Planned, whole: dict[str, Any]) -> dict[str, Any]:
    """Return the object of a plan that waits: its counts are not known, and the estimate says what is expected.

    `whole` is the object as if all were there.
    """
    counted = {name: whole[name] for name in ("due", "requests", "batches")}
    estimate = {"input": whole["rows"]["input"], **counted, **whole["estimate"]}
    if _knows_nothing(planned):
        estimate = dict.fromkeys(estimate)
    return {
        **whole,
        "rows": dict.fromkeys(whole["rows"]),
        **dict.fromkeys(counted),
        "waits_for": list(planned.waits_for),
        "estimate": estimate,
    }


def waiting_text(planned: Planned, suggest: Callable[[str], str]) -> str:
    """Return what is said of the rows of a plan that waits."""
    assert planned.found is not None
    names = safe(", ".join(planned.waits_for))
    lines = [f"  unknown until {names} {'is' if len(planned.waits_for) == 1 else 'are'} answered"]
    lines += [f"  {safe(each)}" for each in planned.hints]
    if not planned.expects:
        again = suggest(f"plan {planned.file.pipeline.name} --with-upstream")
        lines.append(f"  to plan what it reads too: {again}")
    if not _knows_nothing(planned):
        over = f"by what is expected there ({HOW})" if planned.expects else "by the rows that are there now"
        lines += [f"  estimate, {over}:", work_text(planned.found.resolved, planned.found.plan)]
    return "\n".join(lines)


def _knows_nothing(planned: Planned) -> bool:
    """Return whether there is nothing that an estimate could be made of."""
    return planned.found is None or (not planned.expects and not planned.found.plan.input)
