"""Questions to a bank with their true intents, and models of known accuracy whose mistakes are of three kinds."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from helpers.banking import FOLDER
from helpers.confidences import confidence

from batchpipe.evaluation.ladder_cost import FinalAnswer
from batchpipe.evaluation.search import AnswerArrays
from batchpipe.local_model.features import learn_features
from batchpipe.local_model.labels import margins_out_of_fold

Kind = Literal["by chance", "on hard rows", "that can be learnt"]
KINDS: tuple[Kind, ...] = ("by chance", "on hard rows", "that can be learnt")
ACCURACIES = (0.784, 0.87, 0.914)


@dataclass(frozen=True)
class Questions:
    """Texts with the numbers of their true intents; the first `answered` are those that a model answers first."""

    texts: list[str]
    truths: Any
    answered: int
    intents: list[str]


@dataclass(frozen=True)
class Said:
    """What one model says of every question, and how sure it is."""

    labels: Any
    sure: Any


@cache
def questions() -> Questions:
    intents = json.loads((FOLDER / "categories.json").read_text(encoding="utf-8"))
    number = {intent: place for place, intent in enumerate(intents)}
    texts, truths, sizes = [], [], []
    for name in ("train", "test"):
        with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        random.Random(name).shuffle(rows)
        texts += [row["text"] for row in rows]
        truths += [number[row["category"]] for row in rows]
        sizes.append(len(rows))
    return Questions(texts, np.array(truths), sizes[0], intents)


@cache
def hardness() -> tuple[Any, Any]:
    """Return how hard each question is for a classifier that has not seen it, from 0 to 1, and the intents that it
    takes the question for, without the true one, the likeliest first.
    """
    found = questions()
    n = len(found.texts)
    _, matrix = learn_features(found.texts)
    margins, _ = margins_out_of_fold(matrix, found.truths, np.ones(n), np.arange(n) % 5, seed=1)
    own = margins[np.arange(n), found.truths].copy()
    margins[np.arange(n), found.truths] = -9
    return ranks(margins.max(axis=1) - own), np.argsort(-margins, axis=1, kind="stable")


def ranks(values: Any) -> Any:
    found = np.empty(len(values))
    found[np.argsort(values, kind="stable")] = (np.arange(len(values)) + 0.5) / len(values)
    return found


@cache
def regions() -> Any:
    """Return a number from 0 to 1 for each question that its words decide: mistakes that lie together."""
    _, matrix = learn_features(questions().texts)
    return ranks(matrix @ np.random.default_rng(8).normal(size=matrix.shape[1]))


@cache
def model(accuracy: float, kind: Kind, seed: int) -> Said:
    """Return what a model of this accuracy says.

    Its mistakes fall by chance, on hard rows more often and on likely intents, or where the words of the question say
    so, always on the same wrong intent for the true one: a mistake that can be learnt.
    """
    found, drawn = questions(), random.Random(seed)
    hard, others = hardness()
    together = regions()
    swapped = np.roll(np.arange(len(found.intents)), 7)
    labels, sure = [], []
    for place, truth in enumerate(found.truths.tolist()):
        ease = {"by chance": 1.0, "on hard rows": hard[place], "that can be learnt": together[place]}[kind]
        alone = kind == "by chance" or drawn.random() < (0.5 if kind == "on hard rows" else 0.2)
        right = (drawn.random() if alone else ease) < accuracy
        wrong = drawn.choice([each for each in range(len(found.intents)) if each != truth])
        if kind == "on hard rows":
            wrong = int(others[place][0 if drawn.random() < 0.5 else drawn.randrange(1, 10)])
        elif kind == "that can be learnt":
            wrong = int(swapped[truth])
        labels.append(truth if right else wrong)
        sure.append(confidence(drawn, right, accuracy, 0.7))
    return Said(np.array(labels), np.array(sure))


def models(kind: Kind) -> list[Said]:
    return [model(accuracy, kind, 11 + place) for place, accuracy in enumerate(ACCURACIES)]


def ladder_rows(said: Sequence[Said], places: Sequence[int], usd: Sequence[Any]) -> AnswerArrays:
    """Return the answers of these rungs to the questions at `places`, held against the truth."""
    truths = questions().truths
    return AnswerArrays(
        [
            [
                FinalAnswer(
                    valid=True,
                    correct=bool(each.labels[place] == truths[place]),
                    confidence=float(each.sure[place]),
                    cost_usd=cost,
                )
                for each, cost in zip(said, usd, strict=True)
            ]
            for place in places
        ]
    )
