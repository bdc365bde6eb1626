"""Tests of the estimates of `plan` against the cost of the run that follows: within 10% after 100 rows."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from statistics import correlation, fmean, linear_regression, median, variance
from typing import Any

import duckdb
import pytest
from clocked import Clock
from helpers.copies import COPIES
from projects import BASIC, Project, numbered

from batchpipe.commands.plan.due_work import work_text
from batchpipe.commands.printing.estimates import estimate_object
from batchpipe.decide.chunking import Chunk, count_rounds
from batchpipe.engine.cost.estimate import Estimate
from batchpipe.engine.cost.forecast import (
    DueGroup,
    PastResults,
    RungForecast,
    deviation,
    forecast_rung,
    interval,
    reaches,
)

FIELD = '[output.fields.why]\ntype = "string"\n[[models]]'
PLAIN = BASIC.replace("[[models]]", FIELD).replace("max_tokens = 200", "max_tokens = 600")
LADDER = PLAIN.replace("max_tokens = 600", 'max_tokens = 600\naccept = "score >= 0.5"') + (
    '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 600\n'
)
SURE, UNSURE = 0.9, 0.2


def rows(seed: int, count: int) -> list[dict[str, Any]]:
    """Return texts of 20 to some thousand characters, most of them short; each begins with a word that decides
    its answer.
    """
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
    """Return answers of different lengths by kind; some of the first model's have a confidence that is too low."""
    draw = random.Random(1000 + seed)
    rules: list[dict[str, Any]] = []
    for kind in range(12):
        words = int(draw.lognormvariate(3.5, 0.5))
        answer = {"label": "other", "why": "because " * words}
        unsure = {"model": "claude-haiku-4-5", "share": climbing, "output": {**answer, "score": UNSURE}}
        rules += [{"match": f"kind{kind}x", **rule} for rule in ([unsure] if climbing else [])]
        rules.append({"match": f"kind{kind}x", "output": {**answer, "score": SURE}})
    return {"requests": rules}


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """US dollars paid for the first rows, expected for the other rows, and then paid for them."""

    first: Decimal
    expected: Decimal
    low: Decimal
    high: Decimal
    paid: Decimal

    @property
    def error(self) -> float:
        """Return the error of the forecast, after the first rows, of the whole cost."""
        whole = self.first + self.paid
        return float((self.first + self.expected - whole) / whole)

    @property
    def hit(self) -> bool:
        return self.low <= self.paid <= self.high


def forecast(
    project: Project, text: str, seed: int, faults: Mapping[str, Any], *, count: int = 600, first: int = 100
) -> Forecast:
    """Run the first rows, plan the other rows, and run them; each seed is a pipeline of its own."""
    name = f"seed_{seed}"
    project.pipeline(text, name)
    project.rows(rows(seed, count))
    project.faults(faults)
    begun = project.run(name, limit=first)
    estimate = project.plan(name).estimate
    rest = project.run(name)
    assert rest.rows["accepted"] == count
    cost, low, high = known(estimate)
    return Forecast(first=begun.cost_usd, expected=cost, low=low, high=high, paid=rest.cost_usd)


def known(estimate: Estimate) -> tuple[Decimal, Decimal, Decimal]:
    assert estimate.cost_usd is not None
    assert estimate.low_usd is not None
    assert estimate.high_usd is not None
    return estimate.cost_usd, estimate.low_usd, estimate.high_usd


def test_the_bill_is_forecast_after_100_rows(project: Project) -> None:
    found = [forecast(project, PLAIN, seed, answers(seed)) for seed in range(4)]
    assert all(abs(each.error) < 0.1 for each in found), found
    assert sum(each.hit for each in found) >= 3


def test_the_bill_is_forecast_with_answers_that_are_tried_again(project: Project) -> None:
    bad = [{"share": 0.15, "outcome": "invalid_json", "times": 1}, {"share": 0.1, "outcome": "truncated", "times": 1}]
    found = [forecast(project, PLAIN, seed, {"requests": [*bad, *answers(seed)["requests"]]}) for seed in range(10, 13)]
    assert all(abs(each.error) < 0.1 for each in found), found
    ((retries,),) = project.sql("SELECT count(*) FILTER (reason = 'retry') / count(*) FROM ledger.requests")
    assert retries > 0.1


@pytest.mark.proof
def test_the_bill_is_forecast_where_rows_climb(project: Project) -> None:
    """Test rows of which each goes up to a model of three times the price by chance, which 100 rows show less
    exactly.
    """
    found = [forecast(project, LADDER, seed, answers(seed, climbing=0.12)) for seed in range(20, 25)]
    assert all(abs(each.error) < 0.2 for each in found), found
    assert median(abs(each.error) for each in found) < 0.1
    assert sum(each.hit for each in found) >= 4


@pytest.mark.proof
def test_the_bill_is_forecast_within_a_tenth_after_300_rows_that_climb(project: Project) -> None:
    found = [
        forecast(project, LADDER, seed, answers(seed, climbing=0.12), count=900, first=300) for seed in range(30, 32)
    ]
    assert all(abs(each.error) < 0.1 for each in found), found


def shown(sample: list[tuple[float, float, float, bool]], last: bool) -> PastResults:
    """Return what a sample of (bytes, input, output, climbs) shows, as the SQL computes it."""
    sizes, inputs, outputs = ([each[place] for each in sample] for place in range(3))
    climbed = [each for each in sample if each[3] and not last]
    return PastResults(
        billed=len(sample),
        ended=len(sample),
        climbable=0 if last else len(sample),
        climbed=len(climbed),
        climbable_tokens=sum(inputs),
        climbed_tokens=sum(each[1] for each in climbed),
        present=True,
        bytes=fmean(sizes),
        first_input=fmean(inputs),
        input=fmean(inputs),
        input_variance=variance(inputs),
        input_slope=linear_regression(sizes, inputs).slope,
        input_fit=correlation(sizes, inputs) ** 2,
        output=fmean(outputs),
        output_variance=variance(outputs),
        output_slope=linear_regression(sizes, outputs).slope,
        output_fit=correlation(sizes, outputs) ** 2,
    )


USD = {1: (5e-7, 2.5e-6), 2: (1.5e-6, 7.5e-6)}


def simulated(draw: random.Random, count: int) -> list[tuple[float, float, float, bool]]:
    """Return rows as (bytes, input tokens, output tokens, whether the row goes up a rung)."""
    found = []
    for _ in range(count):
        size = 400 + draw.lognormvariate(6, 0.8)
        tokens = 90 + size * draw.gauss(0.24, 0.01)
        found.append((size, tokens, draw.lognormvariate(4.5, 0.6), draw.random() < 0.25))
    return found


def test_the_interval_holds_nine_of_ten_and_the_middle_is_true() -> None:
    draw = random.Random(7)
    hits, errors = 0, []
    for _ in range(400):
        sample, rest = simulated(draw, 100), simulated(draw, 1000)
        climbers = [each for each in sample if each[3]]
        first = forecast_rung(shown(sample, False), PastResults(), 600, True, USD[1])
        second = forecast_rung(shown(climbers, True), shown(sample, True), 600, False, USD[2])
        expected = {1: first, 2: second}
        group = DueGroup(
            requests=len(rest),
            path=(1, 2),
            input_tokens=tuple(sum(expected[rung].input.at(each[0]) for each in rest) for rung in (1, 2)),
            output_tokens=tuple(sum(expected[rung].output.at(each[0]) for each in rest) for rung in (1, 2)),
        )
        cost = 0.0
        for rung, (rows_reached, tokens_reached) in zip((1, 2), reaches((1, 2), expected), strict=True):
            cost += group.input_tokens[rung - 1] * USD[rung][0] * tokens_reached
            cost += group.output_tokens[rung - 1] * USD[rung][1] * rows_reached
        low, high = interval(Decimal(repr(cost)), deviation([group], expected, USD))
        paid = sum(
            each[1] * USD[rung][0] + each[2] * USD[rung][1] for each in rest for rung in ((1, 2) if each[3] else (1,))
        )
        hits += low <= Decimal(repr(paid)) <= high
        errors.append(cost / paid - 1)
    assert abs(fmean(errors)) < 0.01
    assert 0.85 <= hits / 400 <= 0.95


def test_before_results_it_is_as_documented_and_the_interval_is_wide(project: Project) -> None:
    project.rows(numbered(50))
    project.pipeline(PLAIN, "one")
    project.pipeline(LADDER, "two")
    alone, ladder = project.plan("one").estimate, project.plan("two").estimate
    sizes = Decimal(alone.input_tokens) * Decimal("3.5") / 50
    assert 300 < sizes < 2000
    assert alone.output_tokens == 50 * 600 * Decimal("0.3")
    assert [(each.rung, round(each.requests)) for each in ladder.rungs] == [(1, 50), (2, 10)]
    cost, low, high = known(ladder)
    # A fifth of the rows climbs to a model of three times the price.
    assert abs(cost / known(alone)[0] - Decimal("1.6")) < Decimal("0.01")
    assert low < cost / 2 < cost * 2 < high
    assert (alone.seen, ladder.seen) == (0, 0)
    assert ladder.max_usd is not None
    assert high < ladder.max_usd


def test_rows_that_may_not_use_a_rung_are_not_expected_there(project: Project) -> None:
    project.rows(numbered(50, german=20))
    project.pipeline(LADDER + "when = \"lang = 'de'\"\n")
    estimate = project.plan().estimate
    assert [(each.rung, round(each.requests, 6)) for each in estimate.rungs] == [(1, 50), (2, 20 * 0.2)]


def test_climbs_that_were_seen_replace_the_assumption(project: Project) -> None:
    project.rows(numbered(80))
    project.pipeline(LADDER)
    project.faults({"requests": [{"output": {"label": "other", "score": SURE, "why": "x"}}]})
    project.run(limit=40)
    assert [(each.rung, each.requests) for each in project.plan().estimate.rungs] == [(1, 40)]
    # Another prompt: what was seen of the last one still says more than nothing, and the interval is wider.
    _, low, high = known(project.plan(redo="all").estimate)
    project.pipeline(LADDER.replace("{{ body }}", "Please: {{ body }}"))
    estimate = project.plan().estimate
    assert estimate.seen == 40
    assert known(estimate)[2] / known(estimate)[1] > high / low


def test_waves_are_what_may_wait_at_the_provider_at_once() -> None:
    chunks = [Chunk(start=start, count=10, bytes=1) for start in range(0, 100, 10)]
    assert count_rounds([], 8, 100) == 0
    assert count_rounds(chunks, 8, 1000) == 2
    assert count_rounds(chunks, 10, 1000) == 1
    assert count_rounds(chunks, 10, 30) == 4
    assert count_rounds(chunks, 10, 25) == 4
    assert count_rounds(chunks, 1, 1) == 100


def test_hours_are_those_of_past_batches(project: Project) -> None:
    project.pipeline(BASIC + "[chunking]\nmax_requests = 20\nmax_in_flight = 1\n")
    project.rows(numbered(40))
    before = project.plan().estimate
    assert (before.times.batches, before.usual_seconds, before.high_seconds) == (
        0,
        before.waves * 3600,
        before.waves * 86400,
    )
    project.faults({"delay_seconds": 2 * 3600})
    clock = Clock(project=project)
    assert clock.run(limit=20).result.status == "done"
    after = project.plan().estimate
    assert after.times.batches == after.waves == 1
    assert timedelta(hours=2) <= timedelta(seconds=after.usual_seconds) < timedelta(hours=2, minutes=30)


def test_realtime_calls_are_no_waves_of_batches(project: Project) -> None:
    project.rows(numbered(50))
    higher, at_once = '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 200\n', 'mode = "realtime"\n'
    accept, few = 'accept = "score > 0.5"\n', "[retry]\nstragglers = 10\n"
    files = {
        "alone": at_once,
        "below": at_once + accept + higher,
        "above": accept + higher + at_once,
        "both": at_once + accept + higher + at_once,
        "last_few": accept + higher + few,
        "too_many": accept + higher + few.replace("10", "9"),
        "in_a_budget": at_once + "[budget]\nmax_usd = 0.0311\n",
    }
    waves = {}
    for name, more in files.items():
        project.pipeline(BASIC + more, name)
        preview = project.preview(name)
        estimate = preview.plan.estimate
        waves[name] = (estimate.waves, estimate.further_waves)
        hours = estimate_object(estimate)["hours"]
        assert (hours["usual"], hours["high"]) == (sum(waves[name]), 24 * sum(waves[name]))
        said = work_text(preview.resolved, preview.plan)
        assert ("time    minutes" in said) == (not estimate.waves), said
        assert estimate.limited_by is None
    assert waves == {
        "alone": (0, 0),
        "below": (0, 1),
        "above": (1, 0),
        "both": (0, 0),
        "last_few": (1, 0),
        "too_many": (1, 1),
        "in_a_budget": (0, 0),
    }


def test_a_rung_of_few_results_is_weighed_against_the_others() -> None:
    many = PastResults(billed=100, ended=100, present=True, bytes=1000, input=250, first_input=250, output=50)
    few = PastResults(billed=5, ended=5, present=True, bytes=1000, input=500, first_input=500, output=150)
    found = forecast_rung(few, many, 400, False, USD[2])
    assert found.input.at(1000) == 500
    assert found.output.at(1000) == 100  # halfway: 5 results against a weight of 5
    unseen = forecast_rung(PastResults(), many, 400, False, USD[2])
    assert (unseen.input.at(1000), unseen.output.at(1000)) == (250, 50)
    assert isinstance(unseen, RungForecast)
    assert forecast_rung(PastResults(), PastResults(), 400, False, USD[2]).error > unseen.error > found.error


def test_of_very_many_results_a_sample_is_looked_at(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    project.run()
    before = project.plan(redo="all").estimate
    with duckdb.connect(str(project.root / "batchpipe.duckdb")) as database:
        for statement in duckdb.extract_statements(COPIES.format(first=6, last=60_001)):
            database.execute(statement)
    after = project.plan(redo="all").estimate
    assert 19_000 < after.seen < 31_000
    # Its tokens are those of row 1, over and over.
    assert abs(after.input_tokens / before.input_tokens - 1) < 0.05
