"""Compute how good answers to gold rows are, by model and for the ladder: accuracies, costs, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from batchpipe.engine.gold.gold_rows import GoldField, field_comparison
from batchpipe.engine.quality.evaluate import AnsweredRow
from batchpipe.engine.quality.judges import JudgeVerdict
from batchpipe.evaluation.field_comparison import FieldComparison, class_name, is_correct, score
from batchpipe.evaluation.statistics import (
    Calibration,
    Confusion,
    Mean,
    Proportion,
    accuracy,
    calibration,
    confusions,
    macro_f1,
    mean,
)

MOST_CONFUSED = 5

# The separator between the models of a ladder.
SEVERAL = " > "


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result for one gold row: `answer` is None where there is no valid one. `cost_usd` includes every request for
    it.

    `judged` has the verdict on each field that a judge compares.
    """

    key: str
    gold: Mapping[str, Any]
    answer: Mapping[str, Any] | None
    confidence: float | None
    cost_usd: Decimal
    unpriced: bool
    judged: Mapping[str, JudgeVerdict] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldQuality:
    """The quality of one field: the share of right rows; F1 and confusions for classes, the mean F1 of words for
    `text`.
    """

    accuracy: Proportion
    macro_f1: float | None
    confused: tuple[Confusion, ...]
    mean: Mean | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The quality of a model, or of the ladder (`rung` None, several models), on `right.n` gold rows.

    A row is right where every compared field is right. `failed` rows have no valid answer and are wrong. `right_by_key`
    says of each row, by key, whether it is right. A cost is None where a price is not known.
    """

    model: str
    rung: int | None
    right: Proportion
    fields: Mapping[str, FieldQuality]
    failed: int
    cost_usd: Decimal | None
    usd_per_1000: Decimal | None
    usd_per_1000_correct: Decimal | None
    calibration: Calibration | None
    right_by_key: Mapping[str, bool]


def outcomes_of(rows: Sequence[AnsweredRow]) -> list[Outcome]:
    """Return the results of the rows that one model answered."""
    return [
        Outcome(
            key=each.key,
            gold=each.gold,
            answer=each.answer if each.valid else None,
            confidence=each.confidence if each.valid else None,
            cost_usd=each.cost_usd,
            unpriced=each.unpriced,
            judged=each.judged,
        )
        for each in rows
    ]


def climbed(rows: Sequence[AnsweredRow], masks: Mapping[str, int], rungs: int) -> list[Outcome]:
    """Return what the ladder makes of each row that its rungs answered: the first accepted answer, else the newest."""
    by_key: dict[str, dict[int, AnsweredRow]] = {}
    for each in rows:
        if each.number <= rungs:
            by_key.setdefault(each.key, {})[each.number] = each
    found = []
    for key, answers in by_key.items():
        way: list[AnsweredRow] = []
        for number in sorted(answers):
            # The local rung, number 0, answers wherever it has an answer.
            if (not number or masks[key] >> (number - 1) & 1) and not (way and way[-1].accepts):
                way.append(answers[number])
        valid = [each for each in way if each.valid]
        found.append(
            Outcome(
                key=key,
                gold=next(iter(answers.values())).gold,
                answer=valid[-1].answer if valid else None,
                confidence=valid[-1].confidence if valid else None,
                cost_usd=sum((each.cost_usd for each in way), Decimal(0)),
                unpriced=any(each.unpriced for each in way),
                judged=valid[-1].judged if valid else {},
            )
        )
    return found


def quality(model: str, rung: int | None, outcomes: Sequence[Outcome], fields: Sequence[GoldField]) -> Quality | None:
    """Compute the quality of `outcomes`; None where there are none."""
    if not outcomes:
        return None
    right = {each.name: _right(outcomes, each.name, field_comparison(each)) for each in fields}
    all_right = [all(marks) for marks in zip(*right.values(), strict=True)]
    share = accuracy(all_right)
    cost = None if any(each.unpriced for each in outcomes) else sum((each.cost_usd for each in outcomes), Decimal(0))
    sure = [
        (each.confidence, mark) for each, mark in zip(outcomes, all_right, strict=True) if each.confidence is not None
    ]
    return Quality(
        model=model,
        rung=rung,
        right=share,
        fields={each.name: _field(outcomes, each, right[each.name]) for each in fields},
        failed=sum(each.answer is None for each in outcomes),
        cost_usd=cost,
        usd_per_1000=None if cost is None else cost * 1000 / share.n,
        usd_per_1000_correct=None if cost is None or not share.hits else cost * 1000 / share.hits,
        calibration=calibration([confidence for confidence, _ in sure], [mark for _, mark in sure]) if sure else None,
        right_by_key={each.key: mark for each, mark in zip(outcomes, all_right, strict=True)},
    )


def _right(outcomes: Sequence[Outcome], name: str, how: FieldComparison | None) -> list[bool]:
    """Return for each row whether it is right. A row that no judge has a verdict on is wrong."""
    if how is None:
        said = [each.judged.get(name) for each in outcomes]
        return [bool(verdict and verdict.correct) for verdict in said]
    return [each.answer is not None and is_correct(how, each.gold[name], each.answer[name]) for each in outcomes]


def _field(outcomes: Sequence[Outcome], field: GoldField, right: Sequence[bool]) -> FieldQuality:
    name, how = field.name, field_comparison(field)
    if how is None:
        return FieldQuality(accuracy=accuracy(right), macro_f1=None, confused=(), mean=None)
    classes = how.kind == "exact"
    gold = [class_name(each.gold[name]) for each in outcomes] if classes else []
    given = [class_name(each.answer[name]) if each.answer is not None else None for each in outcomes] if classes else []
    scores = [score(how, each.gold[name], each.answer[name]) if each.answer else 0.0 for each in outcomes]
    return FieldQuality(
        accuracy=accuracy(right),
        macro_f1=macro_f1(gold, given) if classes else None,
        confused=confusions(gold, given, MOST_CONFUSED) if classes else (),
        mean=mean(scores) if how.kind == "text" else None,
    )


def quality_object(found: Quality, *, with_rung: bool = True) -> dict[str, Any]:
    """Return the object of `eval --json` for a model; without the rung for the ladder."""
    rung = {"rung": found.rung} if with_rung else {}
    fields = {}
    for name, each in found.fields.items():
        fields[name] = {
            "accuracy": each.accuracy.value,
            "ci95": [each.accuracy.low, each.accuracy.high],
            "macro_f1": each.macro_f1,
        }
    return {
        "model": found.model,
        **rung,
        "n": found.right.n,
        "fields": fields,
        "cost_usd": found.cost_usd,
        "usd_per_1000": found.usd_per_1000,
        "usd_per_1000_correct": found.usd_per_1000_correct,
    }
