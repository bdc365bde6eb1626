"""Compute what an evaluation records about the rungs of the ladder, and about ladders that leave some rungs out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from batchpipe.commands.eval.quality import Quality
from batchpipe.engine.quality.evaluate import AnsweredRow
from batchpipe.evaluation.ladder_cost import FinalAnswer
from batchpipe.evaluation.sub_ladders import ACCEPTED, rung_shares, sub_ladders


def choices_object(
    rows: Sequence[AnsweredRow], models: Sequence[Quality], masks: Mapping[str, int], rungs: Sequence[str]
) -> dict[str, Any]:
    """Return what is recorded of the rungs and ladders of an evaluation; two empty lists where a price is not known.

    `rungs`: the models of the ladder, in order.
    """
    if any(each.unpriced for each in rows):
        return {"rungs": [], "ladders": []}
    right = {each.rung: each.right_by_key for each in models if each.rung is not None}
    by_key: dict[str, dict[int, FinalAnswer]] = {key: {} for key in masks}
    for row in rows:
        if 1 <= row.number <= len(rungs):
            by_key[row.key][row.number] = FinalAnswer(
                valid=row.valid,
                correct=right[row.number][row.key],
                confidence=ACCEPTED if row.accepts else 0.0,
                cost_usd=row.cost_usd,
            )
    answers, usable = list(by_key.values()), [masks[key] for key in by_key]
    return {
        "rungs": [
            _counts(each.n, each.hits, each.cost_usd) | {"rung": each.rung, "model": rungs[each.rung - 1]}
            for each in rung_shares(answers, usable, len(rungs))
        ],
        "ladders": [
            _counts(each.accuracy.n, each.accuracy.hits, each.cost_usd)
            | {"rungs": list(each.ladder.rungs), "models": [rungs[rung - 1] for rung in each.ladder.rungs]}
            for each in sub_ladders(answers, usable, len(rungs))
        ],
    }


def _counts(n: int, hits: int, cost_usd: Decimal) -> dict[str, Any]:
    return {"n": n, "hits": hits, "cost_usd": str(cost_usd)}
