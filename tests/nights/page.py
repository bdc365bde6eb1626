"""All figures of the local rung in order, and the page of the docs that keeps them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from promises.simulation import Coverage, coverages

from .costs import alone, cost, cpu_seconds, local_accuracy, new_rows, train_on, with_local, without_local
from .doubts import errors_found
from .drifting import drifts, new_intents
from .nights import month, promises_over_nights
from .questions import KINDS, Kind, models, questions
from .tables import (
    broken_table,
    cost_picture,
    cost_table,
    coverage_picture,
    doubt_table,
    drift_table,
    growth_table,
    night_picture,
    night_table,
)

GOLD = 600
GOLD_SIZES = (300, 600)
LEAST_GIVEN = 0.95
MOST_USD = {0.84: 0.14, 0.86: 0.30}
TARGETS = (0.8, 0.82, 0.84, 0.86, 0.88, 0.9)
KEPT = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->)", re.DOTALL)
LIVES = 2_000
PICTURED: Kind = "on hard rows"


@dataclass(frozen=True)
class Figures:
    """The tables as one text, the figures that were not reached, and the pictures by the name of their file."""

    text: str
    missed: list[str]
    pictures: Mapping[str, str]


def figures(draws: int, seed: int) -> Figures:
    """Work out every figure."""
    when = f"{datetime.now(UTC):%-d %B %Y}"
    parts = [
        f"Measured on {when}: {draws} draws for each price, seed {seed} (`python -m tests.nights {draws} {seed}`)."
    ]
    missed: list[str] = []
    for work in (_prices, _growth, _speed, _nights, _drift, _doubts):
        text, short = work(draws, seed)
        parts.append(text)
        missed += short
    return Figures("\n\n".join(parts), missed, _pictures(draws, seed))


def _prices(draws: int, seed: int) -> tuple[str, list[str]]:
    answered, found = questions().answered, []
    for kind in KINDS:
        for name, whole in (("ladder", without_local(kind)), ("with a local rung", with_local(kind, answered))):
            for gold in GOLD_SIZES:
                found += [cost(kind, name, whole, target, gold, draws, seed) for target in MOST_USD]
    missed = [f"broken: {each}" for each in found if not each.holds]
    missed += [
        f"too dear: {each}"
        for each in found
        if each.ladder != "ladder" and (each.usd_per_1000_right or 9) > MOST_USD[each.target]
    ]
    missed += [f"seldom given: {each}" for each in found if each.ladder != "ladder" and each.given < LEAST_GIVEN]
    head = f"### What a right row costs\n\n{answered:,} answered rows, gold rows of the 3,080 new ones:"
    return f"{head}\n\n{cost_table(found)}", missed


def _growth(draws: int, seed: int) -> tuple[str, list[str]]:
    found, missed = [], []
    known = questions()
    for kind in KINDS:
        for rows in (500, 1_000, 2_000, 4_000):
            model = train_on(models(kind)[-1].labels, range(rows))
            likely = model.likely([known.texts[place] for place in new_rows()], "intent", 10)
            hits = [known.truths[place] in each for place, each in zip(new_rows(), likely, strict=True)]
            price = cost(
                kind, "local", with_local(kind, rows), 0.78, GOLD, max(draws // 10, 5), seed
            ).usd_per_1000_right
            first = alone(kind)[0][1]
            share = sum(hits) / len(hits)
            found.append((kind, rows, local_accuracy(kind, rows), share, price, first))
            if rows == 2_000 and (price is None or price > first):
                missed.append(f"after 2,000 answers not yet cheaper than the first model, mistakes {kind}")
            if rows == 2_000 and share < 0.978:
                missed.append(
                    f"after 2,000 answers the truth is among the ten likeliest in {share:.1%}, mistakes {kind}"
                )
    return f"### What the model has learnt after so many answers\n\n{growth_table(found)}", missed


def _speed(_draws: int, _seed: int) -> tuple[str, list[str]]:
    known = questions()
    began = cpu_seconds()
    model = train_on(models(KINDS[0])[-1].labels, range(known.answered))
    trained = cpu_seconds() - began
    texts = (known.texts * 8)[:100_000]
    began = cpu_seconds()
    model.answer(texts)
    answered = cpu_seconds() - began
    missed = [f"training took {trained:.1f} s of CPU"] if trained >= 15 else []
    missed += [f"100,000 rows took {answered:.1f} s of CPU"] if answered >= 10 else []
    said = f"Trained on {known.answered:,} rows in {trained:.1f} s of CPU; 100,000 rows answered in {answered:.1f} s."
    return f"### Speed\n\n{said}", missed


def _nights(_draws: int, seed: int) -> tuple[str, list[str]]:
    parts, broken = [], []
    for kind in KINDS:
        lived = month(kind)
        if kind == PICTURED:
            words = f"Mistakes {kind}; `accept` at {lived.accept:g}, 2% audited, {lived.alarms} alarms of drift:"
            parts.append(f"{words}\n\n{night_table(lived)}")
        broken += promises_over_nights(lived, LIVES, seed)[: 2 if kind == KINDS[-1] else 1]
    missed = [f"broken over nights: {each}" for each in broken if not each.holds]
    words = f"{LIVES:,} draws of {GOLD} gold rows, a target just above what the best version reaches:"
    return "\n\n".join(["### Twenty nights", *parts, words, broken_table(broken)]), missed


def _drift(_draws: int, seed: int) -> tuple[str, list[str]]:
    found = [*drifts(LIVES, seed), new_intents(KINDS[0], 0.8, 500, seed)]
    missed = [f"drift: {each}" for each in found if not each.holds]
    words = f"{LIVES:,} lives of 2,000 audited rows, looked at after every row:"
    return f"### Drift\n\n{words}\n\n{drift_table(found)}", missed


def _doubts(draws: int, seed: int) -> tuple[str, list[str]]:
    found = [errors_found(kind, draws, seed) for kind in KINDS]
    missed = [f"errors found: {each}" for each in found if not each.holds or each.with_local < 0.7]
    words = f"500 reviewed rows, {draws} draws; the first model's errors found in 20% of the other rows:"
    return f"### Which rows a person looks at\n\n{words}\n\n{doubt_table(found)}", missed


def _pictures(draws: int, seed: int) -> dict[str, str]:
    answered, fewer = questions().answered, max(draws // 4, 5)
    ladder, local = [
        [cost(PICTURED, name, whole, target, GOLD, fewer, seed) for target in TARGETS]
        for name, whole in (("ladder", without_local(PICTURED)), ("local", with_local(PICTURED, answered)))
    ]
    return {
        "right_row.svg": cost_picture(alone(PICTURED), ladder, local, fewer),
        "nights.svg": night_picture(month(PICTURED)),
        "coverage.svg": coverage_picture(_lowest(coverages(LIVES, seed)), LIVES),
    }


def _lowest(found: Sequence[Coverage]) -> list[tuple[str, list[tuple[float, float]]]]:
    """Return for each kind of table the lowest coverage of each share, whichever table of the kind has it."""
    lowest: dict[str, dict[float, float]] = {}
    for each in found:
        kind = each.case.partition(", table")[0].replace("a model right on ", "").replace(", sample", ",")
        held = lowest.setdefault(kind, {})
        held[each.share] = min(each.held, held.get(each.share, 1.0))
    return [(kind, list(held.items())) for kind, held in lowest.items()]


def keep(found: Figures, docs: Path) -> None:
    """Write the figures into the page between its marks, and the pictures beside it."""
    page = docs / "concepts" / "local_figures.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(KEPT.sub(lambda kept: f"{kept[1]}{found.text}\n{kept[2]}", text), encoding="utf-8")
    for name, picture in found.pictures.items():
        (docs / "pictures" / name).write_text(picture, encoding="utf-8")
