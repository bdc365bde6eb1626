"""Tests of what a budget reserves: the bound and its promise, the waves it makes, what is held, and what is said."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from budgets.jobs import broken, played
from helpers.banking import FIELDS, FOLDER, PROMPT, needs_banking
from projects import Project

from batchpipe.decide.reserve import LEAST_RESULTS, Most, SeenShares, bound_usd, chunk_risk, largest_mean

LADDER = (
    """
[input]
query = '''
SELECT * FROM (
    SELECT row_number() OVER (ORDER BY text, category) AS question_id, text
    FROM read_csv('{folder}/test.csv', header = true)
) WHERE question_id % {part} = 0
'''
key = "question_id"

"""
    + PROMPT
    + """
"""
    + FIELDS
    + """
[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
accept = "confidence >= 0.8"

[[models]]
model = "claude-sonnet-4-6"
max_tokens = 400
"""
)


def most_of(requests: int, room_share: float = 0.1) -> Most:
    """Return requests of which each costs a dollar at most, `room_share` of it for its input."""
    return Most(
        requests=requests,
        input_usd=requests * room_share,
        output_usd=requests * (1 - room_share),
        single_usd=1.0,
        input_share=1.0,
    )


class TestBound:
    def test_is_the_most_where_fewer_than_30_results_are_known(self) -> None:
        few = SeenShares(results=LEAST_RESULTS - 1, input={0.2: 29}, output={0.01: 29})
        assert bound_usd(most_of(1_000), few, chunk_risk(1)) == most_of(1_000).usd
        enough = SeenShares(results=LEAST_RESULTS, input={0.2: 30}, output={0.01: 30})
        assert bound_usd(most_of(1_000), enough, chunk_risk(1)) < 0.5 * most_of(1_000).usd

    def test_falls_towards_the_mean_with_more_results_and_rises_with_the_number_of_looks(self) -> None:
        def bound(results: int, number: int = 1) -> float:
            seen = SeenShares(results=results, input={0.2: results}, output={0.05: results})
            return bound_usd(most_of(3_000), seen, chunk_risk(number))

        mean = 3_000 * (0.1 * 0.2 + 0.9 * 0.05)
        bounds = [bound(results) for results in (30, 100, 1_000, 10_000, 100_000)]
        assert all(more > less > mean for more, less in pairwise(bounds))
        assert bounds[-1] < 1.1 * mean
        assert bound(100, 2) > bound(100)
        assert sum(chunk_risk(number) for number in range(1, 100_000)) < 0.001

    def test_is_never_above_the_most_and_takes_an_answer_that_filled_its_room_for_what_it_is(self) -> None:
        for requests in (1, 2, 10, 1_000):
            filled = SeenShares(results=50, input={1.0: 50}, output={1.0: 50})
            assert bound_usd(most_of(requests), filled, chunk_risk(1)) == most_of(requests).usd
        tail = SeenShares(results=1_000, input={0.2: 1_000}, output={0.01: 990, 1.0: 10})
        light = SeenShares(results=1_000, input={0.2: 1_000}, output={0.01: 1_000})
        bounds = [bound_usd(most_of(1_000), each, chunk_risk(1)) for each in (tail, light)]
        assert bounds[0] > bounds[1] + 10

    def test_twice_the_spread_of_an_earlier_version_is_more(self) -> None:
        seen = SeenShares(results=100, input={0.2: 100}, output={0.05: 50, 0.15: 50})
        wider = seen.widened()
        assert sorted(wider.output) == pytest.approx([0.0, 0.2])
        assert bound_usd(most_of(500), wider, chunk_risk(1)) > bound_usd(most_of(500), seen, chunk_risk(1))

    def test_the_largest_mean_holds_by_exact_binomial_tails(self) -> None:
        """Of n results none filled its room: the share that does is below 1 - risk ** (1 / n) but for that risk."""
        found = largest_mean([(0.0, 200)], 6.9)
        assert found == pytest.approx(1 - 2.718281828 ** (-6.9 / 200), rel=1e-6)


def test_jobs_with_heavy_tails_keep_their_budgets(full_sweep: bool) -> None:
    """The full form is `python -m tests.budgets`: 2,000 jobs."""
    jobs = played(2_000 if full_sweep else 40, 1)
    assert broken(jobs) == []
    assert all(not each.left for each in jobs if each.allowed_usd >= 4 * each.whole_usd and not each.most)


@needs_banking
def test_a_budget_of_four_times_the_cost_makes_no_wave_and_a_tight_one_those_that_plan_says(
    project: Project, full_sweep: bool
) -> None:
    text = LADDER.format(folder=FOLDER, part=1 if full_sweep else 6)

    def pipeline(name: str, times: str) -> Decimal:
        """Write a pipeline with a budget of so many times the cost without one."""
        allowed = free.cost_usd * Decimal(times)
        project.pipeline(f"{text}[budget]\nmax_usd = {allowed}\n", name)
        return allowed

    project.pipeline(text, "free")
    free = project.run("free")
    rows = free.rows["input"]
    assert (free.status, free.rows["accepted"], free.batches) == ("done", rows, 2)

    # From nothing, at four times the cost: no wave more.
    pipeline("roomy", "4")
    assert project.plan("roomy").estimate.limited_by is None
    roomy = project.run("roomy")
    assert (roomy.status, roomy.rows["accepted"], roomy.cost_usd) == ("done", rows, free.cost_usd)
    assert roomy.batches == free.batches

    # At 1.2 times the cost: once the first rung's results are known, the waves are those that the plan says.
    allowed = pipeline("tight", "1.2")
    while project.plan("tight").rows_by_reason["new"]:
        project.run("tight", no_wait=True)
        project.run("tight", max_usd=Decimal(0))  # collects, and sends nothing
    plan = project.plan("tight")
    assert plan.estimate.limited_by == "[budget] max_usd"
    assert 1 < plan.estimate.waves == plan.batches <= 4
    tight = project.run("tight")
    assert (tight.status, tight.rows["accepted"], tight.batches) == ("done", rows, plan.batches)
    assert any("requests wait for room in [budget] max_usd" in each for each in project.said)
    ((spent,),) = project.sql("SELECT sum(cost_usd) FROM ledger.results WHERE pipeline = 'tight'")
    assert spent == free.cost_usd <= allowed
