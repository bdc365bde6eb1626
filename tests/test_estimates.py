"""What `plan` expects, against what then was paid: before results by assumptions, after 100 rows within 10%."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from projects import BASIC, Project

FIELD = '[output.fields.why]\ntype = "string"\n[[models]]'
PLAIN = BASIC.replace("[[models]]", FIELD).replace("max_tokens = 200", "max_tokens = 600")
LADDER = PLAIN.replace("max_tokens = 600", 'max_tokens = 600\naccept = "score >= 0.5"') + (
    '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 600\n'
)
SURE, UNSURE = 0.9, 0.2


def rows(seed: int, count: int) -> list[dict[str, Any]]:
    """Texts of 20 to some thousand characters, most of them short; each begins with a word that says its answer."""
    draw = random.Random(seed)
    return [
        {
            "id": number,
            "body": f"kind{draw.randrange(12)}x {number} " + "word " * int(draw.lognormvariate(4.5, 0.8)),
            "lang": "en",
            "amount": 1,
        }
        for number in range(1, count + 1)
    ]


def answers(seed: int, climbing: float = 0.0) -> dict[str, Any]:
    """Answers whose length differs by kind; a share of the first model's is not sure enough."""
    draw = random.Random(1000 + seed)
    rules: list[dict[str, Any]] = []
    for kind in range(12):
        words = int(draw.lognormvariate(4.0, 0.7))
        answer = {"label": "other", "why": "because " * words}
        unsure = {"model": "claude-haiku-4-5", "share": climbing, "output": {**answer, "score": UNSURE}}
        rules += [{"match": f"kind{kind}x", **rule} for rule in ([unsure] if climbing else [])]
        rules.append({"match": f"kind{kind}x", "output": {**answer, "score": SURE}})
    return {"requests": rules}


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """US dollars: paid for the first rows, expected for the rest, and then paid for them."""

    first: Decimal
    expected: Decimal
    low: Decimal
    high: Decimal
    paid: Decimal

    @property
    def error(self) -> float:
        """Of the whole bill as it is forecast after the first rows."""
        whole = self.first + self.paid
        return float((self.first + self.expected - whole) / whole)

    @property
    def hit(self) -> bool:
        return self.low <= self.paid <= self.high


def forecast(project: Project, text: str, seed: int, faults: Mapping[str, Any], count: int = 700) -> Forecast:
    """Run 100 rows, ask the plan for the rest, run the rest."""
    project.pipeline(text)
    project.rows(rows(seed, count))
    project.faults(faults)
    first = project.run(limit=100)
    estimate = project.plan().estimate
    assert estimate.cost_usd is not None
    assert estimate.low_usd is not None
    assert estimate.high_usd is not None
    rest = project.run()
    assert rest.rows["accepted"] == count
    return Forecast(
        first=first.cost_usd,
        expected=estimate.cost_usd,
        low=estimate.low_usd,
        high=estimate.high_usd,
        paid=rest.cost_usd,
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_bill_is_forecast_after_100_rows(project: Project, seed: int) -> None:
    found = forecast(project, PLAIN, seed, answers(seed))
    assert abs(found.error) < 0.1
    assert found.hit


@pytest.mark.parametrize("seed", range(4))
def test_the_bill_is_forecast_where_rows_climb(project: Project, seed: int) -> None:
    found = forecast(project, LADDER, seed, answers(seed, climbing=0.25))
    assert abs(found.error) < 0.1
    assert found.hit
