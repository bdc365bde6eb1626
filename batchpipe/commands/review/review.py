"""Run `batchpipe review`: show rows that a person should see, record the reviews, and report how often they agreed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchpipe.commands.call.call import Call
from batchpipe.commands.call.options import ReviewRequest
from batchpipe.commands.call.params import split_params, typed_params
from batchpipe.commands.printing.agreement import agreement_line, agreement_object, agreement_text
from batchpipe.commands.printing.text import count
from batchpipe.commands.review.desk import open_desk
from batchpipe.commands.review.screen import Progress, said_meanwhile
from batchpipe.commands.review.sheet import read_sheet, validate_sheet, write_sheet
from batchpipe.commands.review.terminal import is_terminal, opened
from batchpipe.commands.review.walk import Walk
from batchpipe.common.errors import Problem, ReviewError, UsageError
from batchpipe.engine.gold.agreement import Agreement, read_agreement
from batchpipe.engine.ledger.renames import with_histories
from batchpipe.engine.quality.review import Desk
from batchpipe.pipeline.model import PipelineFile


def review(call: Call, request: ReviewRequest) -> int:
    """Walk through the rows at the terminal, or exchange them through a file, or report.

    Raises UsageError without a terminal, ReviewError for a file with something that cannot be recorded.
    """
    file = call.one_pipeline(request.pipeline, "review NAME")
    if sum((request.export is not None, request.source is not None, request.report)) > 1:
        hint = "Give one of them."
        raise UsageError("--export, --import and --report exclude one another", where="review", hint=hint)
    if request.report:
        call.out(_told(call, file))
        return 0
    if request.export is not None:
        return _export(call, file, request, _target(call, request.export, request.force))
    if request.source is not None:
        return _import(call, file, request, call.path(request.source))
    if call.json or not is_terminal(call.stdout):
        hint = f"Use a spreadsheet: {call.suggest(f'review {file.pipeline.name} --export review.csv')}"
        raise UsageError("there is no terminal to review at", where="review", hint=hint)
    return _walk(call, file, request)


def _walk(call: Call, file: PipelineFile, request: ReviewRequest) -> int:
    """Review at the terminal, then print the agreement."""
    name = file.pipeline.name
    with _desk(call, file, request, "again" if request.again else "open", silent=True) as desk:
        if not desk.rows:
            call.say(f"{name}: there is nothing to review.")
            return 0
        progress = Progress(pipeline=name, rows=desk.rows)
        with opened(call.stdout) as terminal:
            Walk(desk=desk, terminal=terminal, progress=progress).walk()
        left = desk.rows - len(progress.said)
        call.say(f"{name}: {progress.words}; {count(left, 'row')} left to review.")
    call.out(_told(call, file))
    return 0


def _export(call: Call, file: PipelineFile, request: ReviewRequest, target: Path) -> int:
    """Write the rows to a CSV file, and say what to do with it."""
    with _desk(call, file, request, "again" if request.again else "open") as desk:
        try:
            number = write_sheet(desk, target)
        except OSError as error:
            what = f"the file cannot be written: {error.strerror}"
            raise UsageError(what, where=str(target), hint="Name another.") from error
    if call.json:
        call.out({"pipeline": file.pipeline.name, "exported": number})
        return 0
    call.say(f"{count(number, 'row')} to {request.export}")
    call.say("Write ok under _verdict where a row is right, or correct its fields. Do not change the other columns.")
    call.say(f"Then: {call.suggest(f'review {file.pipeline.name} --import {shlex.quote(str(request.export))}')}")
    return 0


def _import(call: Call, file: PipelineFile, request: ReviewRequest, path: Path) -> int:
    """Record the reviews in a CSV file."""
    with _desk(call, file, request, "every") as desk:
        sheet = read_sheet(desk, path)
        verdicts = validate_sheet(desk, sheet, path)
        overtaken = set(desk.record(verdicts)) if verdicts else set[int]()
        if desk.meanwhile:
            said = [(line, desk.meanwhile.get(row.number), row) for line, row, _ in sheet.said]
            raise ReviewError.from_problems(
                [
                    Problem(
                        what=f"{said_meanwhile(other, row.answer)}; nothing was recorded",
                        where=f"{path.name}:{line.number}",
                        hint="Import the file again: the message then says how to overrule it.",
                    )
                    for line, other, row in said
                    if other is not None
                ]
            )
        if overtaken:
            lines = ", ".join(str(line.number) for line, row, _ in sheet.said if row.number in overtaken)
            what = f"a run has answered some rows again meanwhile (lines {lines}); nothing was recorded"
            raise ReviewError(what, where=path.name, hint="Import the file again: the message then names these rows.")
    accepted = sum(each.accepted for each in verdicts)
    if call.json:
        counts = {"accepted": accepted, "corrected": len(verdicts) - accepted, "without_a_word": sheet.silent}
        call.out({"pipeline": file.pipeline.name, **counts})
        return 0
    call.say(f"{accepted} accepted, {len(verdicts) - accepted} corrected, {sheet.silent} without a verdict")
    call.out(_told(call, file))
    return 0


@contextmanager
def _desk(
    call: Call, file: PipelineFile, request: ReviewRequest, which: str, *, silent: bool = False
) -> Iterator[Desk]:
    """Open the rows of a pipeline under review. `silent` stops messages that would write over the screen."""
    params = typed_params([file], split_params(request.params))[file.pipeline.name]
    with call.context(say=(lambda text: None) if silent else None) as context:
        (file,) = with_histories(context.database, context.work, [file])
        with open_desk(context, file, params, which) as desk:
            yield desk


def _told(call: Call, file: PipelineFile) -> Any:
    """Return the agreement so far, as text or for `--json`."""
    name, found = file.pipeline.name, _agreement(call, file)
    if call.json:
        return {"pipeline": name, **agreement_object(found)}
    return agreement_text(name, found, call.terminal) if found.total.n else f"{name}: {agreement_line(found.total)}"


def _agreement(call: Call, file: PipelineFile) -> Agreement:
    with call.context() as context:
        (file,) = with_histories(context.database, context.work, [file])
        work = context.work()
        try:
            with context.database.reading(work) as session:
                return read_agreement(session, file.pipeline.names)
        finally:
            work.close()


def _target(call: Call, export: str, force: bool) -> Path:
    """Return the path to export to.

    Raises UsageError for another ending than .csv, a missing folder, and a file that exists (without `force`).
    """
    target = call.path(export)
    if target.suffix.lower() != ".csv":
        raise UsageError(
            "the file's name does not end in .csv", where=f"--export {export}", hint="Such as: --export review.csv"
        )
    if target.is_dir() or not target.parent.is_dir():
        hint = "Name a file in a folder that exists."
        raise UsageError("it cannot be written there", where=f"--export {export}", hint=hint)
    if target.exists() and not force:
        raise UsageError("the file exists already", where=f"--export {export}", hint="Add --force to replace it.")
    return target
