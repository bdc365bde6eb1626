"""Training: features of the texts, a classifier per field, and confidences calibrated on rows left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchpipe.local_model.calibration import OutOfFold, calibrate
from batchpipe.local_model.features import learn_features
from batchpipe.local_model.labels import (
    FieldModel,
    as_json,
    chosen_mix,
    fit_classifiers,
    margins_out_of_fold,
    softmax,
    value_places,
)
from batchpipe.local_model.library import numpy
from batchpipe.local_model.model import KnownRows, LocalModel, text_bits, with_embeddings

MOST_ROWS = 20_000
FEWEST_ROWS = 50
FEW_ROWS = 4_000  # below it more folds, so that a fold's model sees nearly as many rows as the whole one


def train(
    texts: Sequence[str],
    answers: Sequence[Mapping[str, object]],
    weights: Sequence[float],
    fields: Mapping[str, Sequence[object]],
    *,
    seed: int,
    embeddings: Sequence[Sequence[float]] | None = None,
    keys: Sequence[str] | None = None,
    keep_rows: bool = True,
) -> LocalModel:
    """Train a model on answered texts: the same rows and seed give the same model.

    `weights`: 1 / the probability that the row went up. `fields`: the fields to answer with their allowed values. Rows
    with a value that is not allowed are left out; of more than `MOST_ROWS` rows those with the smallest digests are
    taken. `keys` name the rows for `near` (their places, if None). Raises ValueError for fewer than `FEWEST_ROWS`.
    """
    np = numpy()
    places = _places(answers, fields)
    digests = np.array([text_bits(text) for text in texts], dtype=np.int64)
    usable = np.flatnonzero((places >= 0).all(axis=1))
    taken = np.sort(usable[np.argsort(digests[usable], kind="stable")[:MOST_ROWS]])
    if len(taken) < FEWEST_ROWS:
        raise ValueError(f"{len(taken)} usable rows, and at least {FEWEST_ROWS} are needed")
    counted = np.array([float(weights[place]) for place in taken])
    counted = counted / counted.mean()
    width = len(embeddings[0]) if embeddings is not None else 0
    features, matrix = learn_features([texts[place] for place in taken])
    matrix = with_embeddings(matrix, embeddings and [embeddings[place] for place in taken], width)
    folds = digests[taken] % (5 if len(taken) < FEW_ROWS else 3)
    models, right = list[FieldModel](), np.ones(len(taken), dtype=bool)
    sure, own = np.ones(len(taken)), np.ones(len(taken))
    for number, (name, values) in enumerate(fields.items()):
        model, chances, truths = _field(name, tuple(values), matrix, places[taken, number], counted, folds, seed)
        models.append(model)
        rows, best = np.arange(len(taken)), chances.argmax(axis=1)
        sure, right = np.minimum(sure, chances[rows, best]), right & (best == truths)
        own = np.minimum(own, chances[rows, truths])
    calibration = calibrate(sure, right, counted)
    out_of_fold = OutOfFold(
        confidences=calibration.confidence(sure), right=right, weights=counted, own=own, digests=digests[taken]
    )
    known = None
    if keep_rows:
        names = tuple(str(place) if keys is None else keys[place] for place in taken)
        known = KnownRows(keys=names, digests=digests[taken], matrix=matrix, places=places[taken])
    return LocalModel(
        features=features,
        fields=tuple(models),
        calibration=calibration,
        out_of_fold=out_of_fold,
        rows=len(taken),
        width=width,
        known=known,
    )


def _places(answers: Sequence[Mapping[str, object]], fields: Mapping[str, Sequence[object]]) -> Any:
    """Return the place of each answer's value among those allowed, a column per field; -1 where it is not allowed."""
    np = numpy()
    columns = []
    for name, values in fields.items():
        known = value_places(values)
        columns.append([known.get(as_json(each[name]), -1) if name in each else -1 for each in answers])
    return np.array(columns, dtype=np.int64).T.reshape(len(answers), len(fields))


def _field(
    name: str, values: tuple[object, ...], matrix: Any, places: Any, weights: Any, folds: Any, seed: int
) -> tuple[FieldModel, Any, Any]:
    """Return the model of one field, the probabilities out of fold, and the column of each row's own value in them."""
    np = numpy()
    margins, likeness = margins_out_of_fold(matrix, places, weights, folds, seed=seed)
    truths = np.searchsorted(np.unique(places), places)
    part, sharpness = chosen_mix(margins, likeness, truths, weights)
    chances = softmax(margins + part * likeness, sharpness)
    whole = fit_classifiers(matrix, places, weights, seed=seed)
    model = FieldModel(
        name=name,
        values=values,
        known=whole.known,
        # Half precision is how weights are kept: a loaded model answers as the trained one does.
        weights=(whole.slopes + part * whole.middles).astype(np.float16).astype(np.float32),
        offsets=whole.offsets,
        sharpness=sharpness,
    )
    return model, chances, truths
