"""Prepare and print `eval --tune --as-good-as MODEL`: the ladder held against a model, without gold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from batchpipe.commands.call.options import EvalRequest
from batchpipe.commands.printing.text import count
from batchpipe.engine.context import Context
from batchpipe.engine.quality.agreement import prepare_agreement, record_bought
from batchpipe.engine.quality.evaluate import Evaluation
from batchpipe.engine.quality.prepare import Wanted, prepare
from batchpipe.pipeline.evaluations import BOUGHT
from batchpipe.pipeline.model import PipelineFile
from batchpipe.store.database import Work

LABELS = 400


def prepare_rows(
    context: Context, work: Work, file: PipelineFile, request: EvalRequest, wanted: Wanted, folder: Path
) -> Evaluation:
    """Prepare the evaluation with gold, or with the answers of a model in its place."""
    if request.as_good_as is None:
        return prepare(context, work, file, wanted, folder)
    labels = LABELS if request.labels is None else request.labels
    wanted = replace(wanted, sample=labels, kind=BOUGHT)
    evaluation = prepare_agreement(context, work, file, wanted, request.as_good_as, folder)
    record_bought(evaluation, file, request.as_good_as)
    return evaluation


def agreement_notes(top: str, asked: int, rows: int, unanswered: int) -> list[str]:
    """Return what a person has to know about the rows that were compared."""
    notes = []
    if rows < asked:
        notes.append(f"{count(asked, 'row')} were asked for, and the input has only {count(rows)} to ask.")
    if unanswered:
        notes.append(f"{count(unanswered, 'row')} without a valid answer of {top}: no answer agrees with it there.")
    return notes
