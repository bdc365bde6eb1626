"""Tests of the small model: that it learns, is calibrated, is deterministic, can be kept, and shows no barred row."""

from __future__ import annotations

import random
from functools import cache
from io import BytesIO

import numpy as np
import pytest

from batchpipe.local_model.model import LocalModel
from batchpipe.local_model.saved import load_model, save_model
from batchpipe.local_model.training import FEWEST_ROWS, train

TOPICS = {
    "card": "my card is lost stolen broken at the machine",
    "money": "a transfer payment refund of euros did not arrive",
    "login": "password phone app does not let me sign in",
}
FILLERS = ["please", "help", "me", "with", "this", "thing", "now"]
FIELDS: dict[str, list[object]] = {"label": [*TOPICS, "never seen"], "urgent": [True, False]}


def question(drawn: random.Random) -> tuple[str, str, bool]:
    label = drawn.choice([*TOPICS])
    words = drawn.choices(TOPICS[label].split(), k=5) + drawn.choices(
        ["please", "help", "me", "with", "this", "thing", "now"], k=4
    )
    urgent = drawn.random() < 0.5
    return " ".join([*words, "urgent" if urgent else "whenever"]), label, urgent


def questions(count: int, seed: int) -> list[tuple[str, str, bool]]:
    drawn = random.Random(seed)
    return [question(drawn) for _ in range(count)]


@cache
def trained(noise: float = 0.1) -> LocalModel:
    drawn, rows = random.Random(5), questions(900, 1)
    answers = []
    for _, label, urgent in rows:
        said = drawn.choice([*TOPICS]) if drawn.random() < noise else label
        answers.append({"label": said, "urgent": urgent, "confidence": 0.9})
    return train([text for text, _, _ in rows], answers, [1.0] * len(rows), FIELDS, seed=3)


def test_it_learns_fields_and_knows_how_sure_it_may_be() -> None:
    rows = questions(600, 2)
    found = trained().answer([text for text, _, _ in rows])
    right = [
        each.fields == {"label": label, "urgent": urgent} for each, (_, label, urgent) in zip(found, rows, strict=True)
    ]
    assert sum(right) / len(right) > 0.95
    # It was taught with one answer in fifteen wrong, and expects to agree with no more of them.
    assert 0.85 < trained().out_of_fold.accuracy < 0.96
    mean = sum(each.confidence for each in found) / len(found)
    assert abs(mean - trained().out_of_fold.accuracy) < 0.03
    assert all(0 <= each.confidence <= 1 for each in found)
    assert trained().answer([]) == []


def test_two_trainings_and_a_model_that_was_kept_are_the_same_to_the_byte() -> None:
    first = save_model(trained())
    trained.cache_clear()
    assert save_model(trained()) == first
    kept = load_model(*first)
    assert save_model(kept) == first
    texts = [text for text, _, _ in questions(50, 9)]
    assert kept.answer(texts) == trained().answer(texts)
    assert [[each.key for each in row] for row in kept.near(texts, 3)] == [
        [each.key for each in row] for row in trained().near(texts, 3)
    ]
    with np.load(BytesIO(first[0]), allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "fiub" for name in arrays.files)


@pytest.mark.parametrize("spoilt", [b"", b"PK", b"\x93NUMPY"])
def test_what_is_no_model_is_refused(spoilt: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_model(spoilt, save_model(trained())[1])
    with pytest.raises(ValueError, match=r"."):
        load_model(save_model(trained())[0], "{}")


def test_likely_values_hold_each_allowed_value_once_and_those_never_seen_last() -> None:
    [found] = trained().likely(["card stolen at the machine"], "label", 10)
    assert sorted(map(str, found)) == sorted(map(str, FIELDS["label"]))
    assert (found[0], found[-1]) == ("card", "never seen")
    assert trained().likely(["card"], "label", 2) == [found[:2]]


def test_near_shows_neither_the_row_nor_its_text_nor_a_barred_row() -> None:
    rows = questions(900, 1)
    text = rows[17][0]
    [found] = trained().near([f" {text.upper()} "], 5)
    assert len(found) == 5
    assert [each.similarity for each in found] == sorted((each.similarity for each in found), reverse=True)
    assert "17" not in [each.key for each in found]
    barred = {found[0].key, found[1].key}
    [again] = trained().near([text], 5, barred)
    assert [each.key for each in again[:3]] == [each.key for each in found[2:]]
    assert found[2].key not in [each.key for each in trained().near([text], 5, keys=[found[2].key])[0]]
    assert trained().near(["zzz"], 5) == [[]]


def test_rows_count_by_their_weights() -> None:
    texts, answers = ["same words here"] * 200, [{"label": "card"}] * 150 + [{"label": "money"}] * 50
    [even] = train(texts, answers, [1.0] * 200, {"label": FIELDS["label"]}, seed=0).answer(["same words here"])
    [heavy] = train(texts, answers, [1.0] * 150 + [50.0] * 50, {"label": FIELDS["label"]}, seed=0).answer(
        ["same words"]
    )
    assert (even.fields["label"], heavy.fields["label"]) == ("card", "money")


def test_an_embedding_column_teaches_what_the_text_does_not_say() -> None:
    drawn = random.Random(4)
    labels = [drawn.choice(["card", "money"]) for _ in range(300)]
    vectors = [[1.0 if label == "card" else -1.0, drawn.gauss(0, 0.3), 0.2] for label in labels]
    texts = [f"row {place}" for place in range(300)]
    answers = [{"label": label} for label in labels]
    model = train(texts, answers, [1.0] * 300, {"label": FIELDS["label"]}, seed=0, embeddings=vectors)
    found = load_model(*save_model(model)).answer(["x", "y"], [[0.9, 0.0, 0.1], [-0.9, 0.0, 0.1]])
    assert [each.fields["label"] for each in found] == ["card", "money"]
    with pytest.raises(ValueError, match="embeddings of 3 numbers"):
        model.answer(["x"], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="embeddings of 3 numbers"):
        model.answer(["x"])


@pytest.mark.parametrize("text", ["", " \n "])
def test_texts_that_say_nothing_teach_how_frequent_a_value_is(text: str) -> None:
    answers = [{"label": "card"}] * 60 + [{"label": "money"}] * 140
    model = train([text] * 200, answers, [1.0] * 200, {"label": FIELDS["label"]}, seed=0)
    [found] = load_model(*save_model(model)).answer(["anything"])
    assert (found.fields["label"], found.confidence < 0.8) == ("money", True)
    assert model.likely(["anything"], "label", 2) == [["money", "card"]]
    assert model.near(["anything"], 2) == [[]]


def test_rows_with_other_values_are_left_out_and_too_few_rows_are_refused() -> None:
    texts = [text for text, _, _ in questions(FEWEST_ROWS, 1)]
    answers = [{"label": "card"}] * (FEWEST_ROWS - 1) + [{"label": "an old value"}]
    with pytest.raises(ValueError, match=f"{FEWEST_ROWS - 1} usable rows"):
        train(texts, answers, [1.0] * FEWEST_ROWS, {"label": FIELDS["label"]}, seed=0)
    one = train(texts, [{"label": "card"}] * FEWEST_ROWS, [1.0] * FEWEST_ROWS, {"label": FIELDS["label"]}, seed=0)
    assert one.answer(["anything"])[0].fields == {"label": "card"}


@pytest.mark.parametrize("text", ["", " ", "\x00", "\ud800", "🙂" * 10_000, "İ" * 5_000, "ß", "\u2028 a", "a" * 99_999])
def test_no_text_is_too_strange(text: str) -> None:
    answer = trained().answer(["card", text, "money transfer refund"])
    assert len(answer) == 3
    assert answer[2].fields["label"] == "money"
    assert len(trained().near([text], 2)[0]) <= 2
