"""One field of the answers: a linear classifier per value, and probabilities of the values.

The classifier is that of liblinear with the squared hinge loss, one value against all others; its margins become
probabilities by a softmax whose temperature is fitted out of fold (Guo et al., arXiv:1706.04599). On texts it is as
right as multinomial logistic regression, and is trained in a quarter of the time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from batchpipe.common.lazy_dataclass import dataclass
from batchpipe.local_model.library import linear_classifier, numpy

LOSS_WEIGHT = 0.3  # liblinear's C
TOLERANCE = 0.1
NEVER_SEEN = -3.0  # the margin of a value that a fold has no row of
TEMPERATURES = tuple(1.25**power for power in range(-4, 18))
SMALLEST = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldModel:
    """The classifier of one field. `values` are its allowed values; `known` the places of those that it has learnt.

    `weights` has a row per feature and a column per known value; `offsets` and `sharpness` (1 / temperature) make
    probabilities of them.
    """

    name: str
    values: tuple[object, ...]
    known: Any
    weights: Any
    offsets: Any
    sharpness: float

    def probabilities(self, matrix: Any) -> Any:
        """Return a row per text and a column per known value."""
        return softmax(matrix @ self.weights + self.offsets, self.sharpness)

    def likely(self, matrix: Any, count: int) -> list[list[object]]:
        """Return the `count` likeliest values of each text, the likeliest first; values never seen come last."""
        np = numpy()
        margins = matrix @ self.weights + self.offsets
        order = np.argsort(-margins, axis=1, kind="stable")[:, :count]
        seen = {int(each) for each in self.known}
        rest = [value for place, value in enumerate(self.values) if place not in seen]
        return [[*(self.values[place] for place in self.known[row]), *rest][:count] for row in order]


def place_of(values: Sequence[object]) -> dict[str, int]:
    """Return the place of each value by its JSON text, in which true and 1 differ."""
    return {json.dumps(value, sort_keys=True): place for place, value in enumerate(values)}


def fit(matrix: Any, places: Any, weights: Any, *, seed: int) -> tuple[Any, Any, Any]:
    """Return the values that occur in `places`, and the weights and offsets of one linear function for each."""
    np = numpy()
    known = np.unique(places)
    if len(known) == 1:
        return known, np.zeros((matrix.shape[1], 1), dtype=np.float32), np.zeros(1, dtype=np.float32)
    model = linear_classifier(C=LOSS_WEIGHT, tol=TOLERANCE, dual=True, random_state=seed)
    model.fit(matrix, places, sample_weight=weights)
    slopes, offsets = model.coef_.T, model.intercept_
    if len(known) == 2:
        slopes, offsets = np.hstack([-slopes, slopes]), np.concatenate([-offsets, offsets])
    # Half precision is how weights are kept: a loaded model answers as the trained one does.
    return known, slopes.astype(np.float16).astype(np.float32), offsets.astype(np.float32)


def margins_out_of_fold(matrix: Any, places: Any, weights: Any, folds: Any, known: Any, *, seed: int) -> Any:
    """Return the margins of the `known` values for each row, by a classifier that has not seen the row's fold."""
    np = numpy()
    found = np.full((len(places), len(known)), NEVER_SEEN, dtype=np.float32)
    for fold in np.unique(folds):
        held, taught = folds == fold, folds != fold
        if not taught.any():
            continue
        seen, slopes, offsets = fit(matrix[taught], places[taught], weights[taught], seed=seed)
        found[np.ix_(held, np.searchsorted(known, seen))] = matrix[held] @ slopes + offsets
    return found


def sharpness_of(margins: Any, truths: Any, weights: Any) -> float:
    """Return the sharpness of the softmax under which the true values (columns) are likeliest."""
    np = numpy()
    rows = np.arange(len(truths))

    def surprise(sharpness: float) -> float:
        chance = softmax(margins, sharpness)[rows, truths]
        return float(-(weights * np.log(np.maximum(chance, SMALLEST))).sum())

    return min(TEMPERATURES, key=surprise)


def softmax(margins: Any, sharpness: float) -> Any:
    """Return the probabilities of each row."""
    np = numpy()
    raised = np.exp(sharpness * (margins - margins.max(axis=1, keepdims=True)))
    return raised / raised.sum(axis=1, keepdims=True)
