"""A model of which answers are wrong, fitted on what people reviewed: the order in which they should look at rows.

A logistic model (scikit-learn) over the confidence, the rung, the values, how far other answers agree, and how likely
the answer is to the pipeline's local model. It is used only where it orders rows of the sample at least as well as the
confidence alone, by cross-validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from batchpipe.evaluation.library import numpy

FEWEST_ERRORS = 50
FEWEST_SAMPLE_ROWS = 100
FOLDS = 5
SMALLEST_CHANCE = 1e-3
LOOKED_AT = 0.2  # the share of rows that a person looks at, for which both orders are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFeatures:
    """What is known of one answer: its confidence, its rung, its values as one text, the share of other answers to
    the same row that have the same values, and its `chance` by the local model, which has not learnt from this row.
    None where there is none.
    """

    confidence: float | None
    rung: int
    values: str
    agreement: float | None
    chance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedAnswer:
    """An answer that a person reviewed: whether it was wrong, and whether the row was of the sample."""

    features: AnswerFeatures
    wrong: bool
    sampled: bool


def doubts_by_model(reviewed: Sequence[ReviewedAnswer], rows: Sequence[AnswerFeatures]) -> list[float] | None:
    """Return for each of `rows` the probability that its answer is wrong; None where the confidence is to order them.

    The confidence orders them with fewer than `FEWEST_ERRORS` errors, with fewer than `FEWEST_SAMPLE_ROWS` rows of the
    sample, without the package scikit-learn, and if the model finds fewer errors of the sample than the confidence
    does.
    """
    errors, sample = sum(each.wrong for each in reviewed), sum(each.sampled for each in reviewed)
    if not rows or errors < FEWEST_ERRORS or errors == len(reviewed) or sample < FEWEST_SAMPLE_ROWS:
        return None
    try:
        from sklearn.feature_extraction import DictVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
    except ImportError:
        return None
    model = make_pipeline(DictVectorizer(), LogisticRegression(max_iter=1000))
    known, wrong = [_columns(each.features) for each in reviewed], [each.wrong for each in reviewed]
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    held_out = cross_val_predict(model, known, wrong, cv=folds, method="predict_proba")[:, 1]
    plain = [by_confidence(each.features) for each in reviewed]
    places = [place for place, each in enumerate(reviewed) if each.sampled]
    if _found(places, held_out, wrong) < _found(places, plain, wrong):
        return None
    fitted = model.fit(known, wrong)
    return [float(each) for each in fitted.predict_proba([_columns(each) for each in rows])[:, 1]]


def by_confidence(features: AnswerFeatures) -> float:
    """Return the doubt in an answer by its confidence alone; an answer without one comes first."""
    return 1.0 if features.confidence is None else 1 - features.confidence


def _columns(features: AnswerFeatures) -> dict[str, float]:
    """Return the columns of the model for one answer; a confidence or an agreement that is missing has its own."""
    columns = {f"rung {features.rung}": 1.0, f"values {features.values}": 1.0}
    for name, value in (("confidence", features.confidence), ("agreement", features.agreement)):
        columns[name if value is not None else f"no {name}"] = value if value is not None else 1.0
    if features.chance is not None:
        columns["chance"], columns["log chance"] = features.chance, log(max(features.chance, SMALLEST_CHANCE))
    if features.confidence is not None:
        columns["very sure"] = float(features.confidence >= 0.9)
    return columns


def _found(places: Sequence[int], doubts: Any, wrong: Sequence[bool]) -> int:
    """Return how many errors a person finds who looks at the most doubtful of the rows at `places`."""
    np = numpy()
    order = np.argsort(-np.array([doubts[place] for place in places], dtype=float), kind="stable")
    looked = order[: round(len(places) * LOOKED_AT)]
    return sum(wrong[places[int(each)]] for each in looked)
