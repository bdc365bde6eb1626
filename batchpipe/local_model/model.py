"""The trained model: answers with confidences, the likeliest values, and the nearest rows that it was trained on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from batchpipe.local_model.calibration import CalibrationLine, OutOfFold
from batchpipe.local_model.features import Features, matrices
from batchpipe.local_model.labels import FieldModel
from batchpipe.local_model.library import numpy, sparse

NEAR_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAnswer:
    """An answer of the model: the value of every field, and the chance that all of them agree with the upper rungs."""

    fields: Mapping[str, object]
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A training row: its key, its answer, and its similarity (the cosine, up to 1) to the text asked about."""

    key: str
    fields: Mapping[str, object]
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRows:
    """The rows that the model was trained on: keys, digests of their texts, features, and the place of each value."""

    keys: tuple[str, ...]
    digests: Any
    matrix: Any
    places: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A small model of a pipeline's own. `width` is the length of an embedding, 0 where texts alone are read.

    `rows` is the number of rows that it was trained on; `known` holds them where they were to be kept.
    """

    features: Features
    fields: tuple[FieldModel, ...]
    calibration: CalibrationLine
    out_of_fold: OutOfFold
    rows: int
    width: int
    known: KnownRows | None

    def answer(self, texts: Sequence[str], embeddings: Sequence[Sequence[float]] | None = None) -> list[LocalAnswer]:
        """Return the answer to each text. Raises ValueError for embeddings of another length."""
        np = numpy()
        whole: dict[tuple[int, ...], Mapping[str, object]] = {}
        found: list[LocalAnswer] = []
        for matrix in self._matrices(texts, embeddings):
            least = np.ones(matrix.shape[0])
            places = []
            for field in self.fields:
                chances = field.probabilities(matrix)
                best = chances.argmax(axis=1)
                least = np.minimum(least, chances[np.arange(len(best)), best])
                places.append(field.known[best])
            sure = self.calibration.confidence(least).tolist()
            for at, confidence in zip(np.stack(places, axis=1).tolist(), sure, strict=True):
                fields = whole.setdefault(tuple(at), self._named(at))
                found.append(LocalAnswer(fields=fields, confidence=confidence))
        return found

    def chances(
        self,
        texts: Sequence[str],
        answers: Sequence[Mapping[str, object]],
        embeddings: Sequence[Sequence[float]] | None = None,
    ) -> list[float]:
        """Return how likely each answer is to the model: the probability of its least likely field.

        A text that the model was trained on has the probability that its own answer had out of fold. An answer with a
        value that the model has not learnt has 0.
        """
        np = numpy()
        seen = dict(zip(self.out_of_fold.digests.tolist(), self.out_of_fold.own.tolist(), strict=True))
        found: list[float] = []
        for matrix in self._matrices(texts, embeddings):
            here = answers[len(found) : len(found) + matrix.shape[0]]
            least = np.ones(matrix.shape[0])
            for field in self.fields:
                least = np.minimum(least, field.chances_of(matrix, [each.get(field.name) for each in here]))
            for chance in least.tolist():
                found.append(seen.get(text_bits(texts[len(found)]), chance))
        return found

    def likely(
        self, texts: Sequence[str], field: str, count: int, embeddings: Sequence[Sequence[float]] | None = None
    ) -> list[list[object]]:
        """Return for each text the `count` likeliest values of a field, the likeliest first.

        Raises KeyError for a field that the model does not answer.
        """
        chosen = {each.name: each for each in self.fields}[field]
        found: list[list[object]] = []
        for matrix in self._matrices(texts, embeddings):
            found += chosen.likely(matrix, count)
        return found

    def near(
        self,
        texts: Sequence[str],
        count: int,
        forbidden: Collection[str] = (),
        embeddings: Sequence[Sequence[float]] | None = None,
        keys: Sequence[str] | None = None,
    ) -> list[list[Neighbour]]:
        """Return for each text at most `count` nearest training rows, the nearest first.

        Never one with the same text, with the text's own key (`keys`), or with a `forbidden` key: gold and sample rows.
        Rows that have nothing in common with the text are left out. Raises ValueError where rows were not kept.
        """
        np = numpy()
        if self.known is None:
            raise ValueError("the rows of this model were not kept")
        known, barred = self.known, set(forbidden)
        shut = np.array([key in barred for key in known.keys], dtype=bool)
        place_of = {key: place for place, key in enumerate(known.keys)}
        found: list[list[Neighbour]] = []
        for matrix in self._matrices(texts, embeddings):
            for begin in range(0, matrix.shape[0], NEAR_AT_ONCE):
                alike = np.asarray((matrix[begin : begin + NEAR_AT_ONCE] @ known.matrix.T).todense())
                for row in alike:
                    at = len(found)
                    row[shut] = 0
                    row[known.digests == text_bits(texts[at])] = 0
                    if keys is not None and keys[at] in place_of:
                        row[place_of[keys[at]]] = 0
                    found.append(self._nearest(row, count, known))
        return found

    def _nearest(self, alike: Any, count: int, known: KnownRows) -> list[Neighbour]:
        np = numpy()
        best = np.argsort(-alike, kind="stable")[:count]
        parts = 2 if self.features.pieces else 1
        return [
            Neighbour(
                key=known.keys[place],
                fields=self._named(known.places[place]),
                similarity=min(round(float(alike[place]) / (parts + bool(self.width)), 4), 1.0),
            )
            for place in best
            if alike[place] > 0
        ]

    def _named(self, places: Sequence[int]) -> Mapping[str, object]:
        values = zip(self.fields, places, strict=True)
        return MappingProxyType({field.name: field.values[place] for field, place in values})

    def _matrices(self, texts: Sequence[str], embeddings: Sequence[Sequence[float]] | None) -> Iterator[Any]:
        begin = 0
        for matrix in matrices(texts, self.features):
            until = begin + matrix.shape[0]
            yield with_embeddings(matrix, None if embeddings is None else embeddings[begin:until], self.width)
            begin = until


def text_bits(text: str) -> int:
    """Return 63 bits that stand for a text; case and spaces make no other text of it."""
    same = " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(same, digest_size=8).digest()) >> 1


def with_embeddings(matrix: Any, embeddings: Sequence[Sequence[float]] | None, width: int) -> Any:
    """Return the matrix with the embeddings beside it, each brought to length 1.

    Raises ValueError where an embedding is missing, has another length, or holds what is no finite number.
    """
    if not width:
        return matrix
    np = numpy()
    dense = np.array(embeddings if embeddings is not None and len(embeddings) else np.zeros((0, width)), dtype=float)
    if dense.shape != (matrix.shape[0], width) or not np.isfinite(dense).all():
        raise ValueError(f"{matrix.shape[0]} embeddings of {width} numbers were expected")
    length = np.sqrt((dense**2).sum(axis=1, keepdims=True))
    scaled = (dense / np.where(length > 0, length, 1)).astype(np.float32)
    return sparse().hstack([matrix, sparse().csr_matrix(scaled)], format="csr")
