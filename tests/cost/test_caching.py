"""Tests of prompt caching with `cache = "auto"`: the cost, priming, and the messages."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clocked import Clock
from commandline import CommandLine
from projects import Project, numbered

from batchpipe.commands.printing.caching import came_to_text, expected_cache_text
from batchpipe.commands.report.read import Report, read_reports
from batchpipe.commands.status.states import Named
from batchpipe.decide.caching import (
    CacheHits,
    CacheMark,
    CacheTtl,
    PrefixState,
    TokenRates,
    choose_ttl,
    decide_caching,
    saved_usd,
)
from batchpipe.template.environment import Environment
from batchpipe.template.head import static_head

RULES = "".join(f"Rule {number}: a ticket of this kind goes to its own queue, always. " for number in range(250))
RULES = RULES[:12_000]
DEMO = """
[input]
query = "SELECT id, body FROM read_csv('rows.csv')"
key = "id"

[prompt]
cache = "{cache}"
system_text = '''{system}'''
user_text = '''{user}'''

[output.fields.label]
type = "string"

[[models]]
model = "{model}"
max_tokens = 50
"""
NOW = datetime.fromisoformat("2026-11-22")
SLOW: dict[str, Any] = {"delay_seconds": 1_200, "requests": [{"output": {"label": "billing"}}]}


def write(
    project: Project,
    cache: str,
    count: int,
    *,
    system: str = RULES,
    user: str = "{{ body }}",
    model: str = "claude-sonnet-4-6",
) -> None:
    project.pipeline(DEMO.format(cache=cache, system=system, user=user, model=model))
    project.rows(numbered(count))


@contextmanager
def another(root: Path) -> Iterator[Project]:
    root.mkdir(parents=True)
    project = Project(root)
    try:
        yield project
    finally:
        project.close()


def bill(root: Path, cache: str, count: int, *, primed: bool = False, **prompt: str) -> Decimal:
    """Return the cost of `count` rows if batches take 20 minutes; with `primed` after a run of one row."""
    with another(root) as project:
        project.faults(SLOW)
        write(project, cache, count, **prompt)
        clock = Clock(project=project, step=1_200.0)
        if primed:
            assert clock.run(limit=1).error is None
        outcome = clock.run()
        assert (outcome.error, outcome.result.rows["accepted"]) == (None, count)
        return spent(project)


def spent(project: Project) -> Decimal:
    found: Decimal = project.sql("SELECT sum(cost_usd) FROM ledger.results")[0][0]
    return found


def sizes(project: Project) -> list[int]:
    """Return the requests of each batch, in the order in which the batches were sent."""
    return [size for (size,) in project.sql("SELECT requests FROM ledger.batches ORDER BY prepared_at, chunk_id")]


def steps(project: Project) -> list[str]:
    found = project.sql("SELECT data ->> 'cache_step' FROM ledger.events WHERE kind = 'chunk_prepared' ORDER BY seq")
    return [step for (step,) in found]


def end_batches(project: Project) -> None:
    """Retrieve each batch as another client would, until it has ended."""
    for (batch_id,) in project.sql("SELECT batch_id FROM ledger.batches WHERE is_open"):
        headers = {"x-api-key": "test-key", "anthropic-version": "2023-06-01"}
        request = urllib.request.Request(f"{project.emulator.base_url}/v1/messages/batches/{batch_id}", headers=headers)
        while b'"ended"' not in urllib.request.urlopen(request).read():
            pass


@pytest.fixture
def clock(project: Project) -> Clock:
    project.faults(SLOW)
    return Clock(project=project, step=300.0)


@pytest.mark.share(1)
@pytest.mark.parametrize("count", [10, 1_000, 10_000])
def test_the_bill_is_within_5_percent_of_the_best(tmp_path: Path, count: int) -> None:
    ways = [("1h", True)]
    if count < 10_000:
        ways += [("off", False), ("5m", False), ("1h", False), ("5m", True)]
    bills = {way: bill(tmp_path / f"{way[0]}-{way[1]}", way[0], count, primed=way[1]) for way in ways}
    auto = bill(tmp_path / "auto", "auto", count)
    assert min(bills, key=lambda way: bills[way]) == ("1h", True)
    assert auto <= min(bills.values()) * Decimal("1.05")
    if count < 10_000:
        assert auto < bills["off", False] / 3
        assert bills["off", False] < bills["5m", False] < bills["1h", False]


def test_five_minutes_are_enough_where_batches_were_quick(project: Project) -> None:
    project.faults(SLOW | {"delay_seconds": 0})
    for count in (1, 2, 3, 10):
        write(project, "auto", count)
        project.run()
    assert steps(project) == ["none", "none", "none", "prime", "warm"]
    most = "max(cache_write_5m_tokens), max(cache_write_1h_tokens)"
    assert project.sql(f"SELECT {most} FROM ledger.results") == [(3_000, 0)]


def test_a_prefix_below_the_models_least_is_not_primed(project: Project, clock: Clock) -> None:
    write(project, "auto", 20, model="claude-haiku-4-5")
    assert clock.run().error is None
    assert sizes(project) == [20]
    assert project.plan().estimate.caching == ()


def test_calls_that_do_not_wait_prime_first(project: Project, clock: Clock) -> None:
    write(project, "auto", 30)
    assert clock.run(no_wait=True).result.status == "pending"
    assert clock.run(no_wait=True).result.submitted == 0
    assert sizes(project) == [1]
    clock.advance(timedelta(minutes=30))
    clock.run(no_wait=True)  # looks: the emulator's batch ends at a look
    outcome = clock.run(no_wait=True)
    assert sizes(project) == [1, 29], outcome
    clock.advance(timedelta(minutes=30))
    clock.run(no_wait=True)
    assert clock.run(no_wait=True).result.rows["accepted"] == 30
    assert steps(project) == ["prime", "warm"]


def test_calls_too_rare_for_a_prime_go_on_without(project: Project, clock: Clock) -> None:
    """Call `run` each time after the cache has expired: two calls prime it, then the rest goes without a mark."""
    write(project, "auto", 30)
    for _ in range(3):
        clock.run(no_wait=True)
        clock.advance(timedelta(minutes=30))
        end_batches(project)
        clock.advance(timedelta(minutes=75))
    assert clock.run(no_wait=True).result.rows["accepted"] == 30
    assert (sizes(project), steps(project)) == ([1, 1, 28], ["prime", "prime", "none"])
    assert project.sql("SELECT count(*) FROM ledger.results WHERE cache_write_1h_tokens > 0") == [(2,)]


def test_a_prime_that_fails_is_sent_again_and_does_not_block(project: Project, clock: Clock) -> None:
    failing = {"outcome": "errored_api", "match": "text number", "times": 1}
    project.faults({**SLOW, "requests": [failing, *SLOW["requests"]]})
    write(project, "auto", 30)
    assert clock.run().result.rows["accepted"] == 30
    assert steps(project)[:3] == ["prime", "prime", "warm"]


def test_primes_that_always_fail_do_not_block(project: Project, clock: Clock) -> None:
    failing = {"outcome": "expired", "match": "text number", "times": 2}
    project.faults({**SLOW, "requests": [failing, *SLOW["requests"]]})
    write(project, "auto", 30)
    assert clock.run().result.rows["accepted"] == 30
    assert steps(project)[:3] == ["prime", "prime", "none"]


def test_a_submit_of_unknown_outcome_does_not_block_as_a_prime(project: Project, clock: Clock) -> None:
    project.faults({**SLOW, "calls": [{"call": "create", "fault": "accepted_then_reset"}]})
    write(project, "auto", 30)
    assert clock.run().result.rows["accepted"] == 30
    assert project.requests_sent() == 30


def test_caching_that_lost_money_says_so_and_stops(project: Project, clock: Clock) -> None:
    project.faults(SLOW | {"cache_hits": 0.2})
    write(project, "auto", 200)
    assert clock.run().error is None
    assert steps(project) == ["prime", "warm"]
    write(project, "auto", 400)
    [expected] = project.plan().estimate.caching
    assert (expected.step, expected.hits_seen) == ("none", 199)
    assert expected.saved_usd == 0
    assert "not cached: it does not pay for 200 requests" in expected_cache_text([expected])
    assert clock.run().error is None
    assert steps(project) == ["prime", "warm", "none"]
    [found] = report_of(project).caching
    assert found.saved_usd < 0
    assert "lost against no cache" in (came_to_text([found]) or "")
    unmarked = "cache_write_1h_tokens + cache_read_tokens = 0"
    assert project.sql(f"SELECT count(*) FROM ledger.results WHERE {unmarked}") == [(200,)]


def test_what_the_plan_expects_is_what_the_report_says(project: Project, clock: Clock) -> None:
    write(project, "auto", 1_000)
    plan = project.plan()
    [expected] = plan.estimate.caching
    assert (expected.step, expected.ttl, expected.requests, expected.tokens) == ("prime", "1h", 1_000, 3_000)
    text = expected_cache_text(plan.estimate.caching)
    assert (
        "about 3,000 tokens that every request begins with, for an hour, written by 1 request that goes first" in text
    )
    result = clock.run().result
    assert result.batches == plan.batches == 2
    assert plan.estimate.rungs[0].cost_usd == plan.estimate.cost_usd
    assert plan.estimate.cost_usd is not None
    assert spent(project) < plan.estimate.cost_usd < plan.estimate.cost_usd + expected.saved_usd
    assert plan.estimate.max_usd is not None
    assert plan.estimate.max_usd > Decimal("9.159")  # were every request to write
    [found] = report_of(project).caching
    assert (found.requests, found.read_tokens) == (1_000, 3_000 * found.hits)
    uncached = Decimal("4.632")
    assert abs(found.saved_usd - (uncached - spent(project))) < uncached / 100
    write(project, "auto", 2_000)
    again = project.plan().estimate  # by what was seen
    assert again.caching[0].hit_share > 0.95
    cost = again.cost_usd
    before = spent(project)
    assert clock.run().error is None
    assert cost is not None
    assert abs(cost - (spent(project) - before)) < cost / 10


def test_the_commands_tell_of_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    typed.provide(project)
    write(project, "auto", 30)
    [expected] = typed("plan", "demo", "--json").value["estimate"]["caching"]
    assert (expected["model"], expected["step"], expected["requests"]) == ("claude-sonnet-4-6", "prime", 30)
    assert expected["saved_usd"] > 0
    words = "about 3,000 tokens that every request begins with"
    assert words in typed("plan", "demo").out
    assert words in typed("plan", "demo", "--markdown").out
    ran = typed("run", "demo", "--yes", "--json").value
    assert (ran["batches"], ran["submitted"], ran["tokens"]["cache_write"] >= 3_000) == (2, 30, True)
    [used] = typed("report", "demo", "--json").value["caching"]
    assert (used["requests"], used["saved_usd"] > 0) == (30, True)
    assert f"{used['hits'] / 30:.1%} of 30 requests found it, $" in typed("report", "demo").out


def test_the_head_of_the_user_message_is_part_of_the_prefix(project: Project, clock: Clock) -> None:
    user = "{% if true %}" + RULES[:7_000] + "{% endif %} Now this one: {{ body }}"
    write(project, "auto", 20, system=RULES[7_000:], user=user)
    assert clock.run().error is None
    assert steps(project) == ["prime", "warm"]
    written = project.sql("SELECT max(cache_write_1h_tokens) FROM ledger.results")[0][0]
    assert 2_900 < written < 3_100
    # Marks and blocks are no part of what is asked.
    write(project, "off", 20, system=RULES[7_000:], user=user)
    assert project.plan().requests == 0


def report_of(project: Project) -> Report:
    context = project.context()
    try:
        [found] = read_reports(context, [Named(name="demo", names=("demo",))], everything=False)
    finally:
        context.close()
    return found


class TestTheStaticHead:
    @pytest.mark.parametrize(
        ("template", "head"),
        [
            ("Rules of {{ product }}:{% for each in rows %} {{ each.a }}{% endfor %} {{ body }} x", "Rules of P: 1 2 "),
            ("{{ body }} x", ""),
            ("{% if product %}a{% else %}{{ body }}{% endif %}b", ""),
            ("a{% set z = body %}b", "a"),
            ("a {{ row.b }}", "a "),
            ("a{% include 'x' %}b", "a"),
            ("{{ range(2) | list }}{{ loop }}", "[0, 1]"),
        ],
    )
    def test_it_ends_before_the_first_value_of_a_row(self, template: str, head: str) -> None:
        environment = Environment({})
        tree = static_head(environment, template, {"product", "rows", "range"})
        text = environment.from_string(tree).render(product="P", rows=[{"a": 1}, {"a": 2}]) if tree else ""
        assert text == head


class TestArithmetic:
    RATES = TokenRates(input=Decimal(1), write=Decimal(2), read=Decimal("0.1"))

    def mark(self, seen: PrefixState = PrefixState(), hits: CacheHits = CacheHits()) -> CacheMark:  # noqa: B008
        return CacheMark(prefix="x", tokens=100, ttl="1h", rates=self.RATES, hits=hits, state=seen)

    def test_what_is_saved(self) -> None:
        sure = self.mark(hits=CacheHits(read=10**9, written=0, requests=10**9))
        assert round(saved_usd(sure, 1_000, warm=True)) == 100 * 900
        assert round(saved_usd(sure, 1_000, warm=False)) == 100 * (1_000 - 2) - round(100 * 999 * 0.1)
        assert saved_usd(sure, 1, warm=False) < 0

    def test_below_a_few_requests_nothing_is_primed(self) -> None:
        assert [decide_caching(self.mark(), count, NOW).step for count in (1, 5, 6)] == ["none", "none", "prime"]

    def test_a_prime_is_waited_for_but_not_for_ever(self) -> None:
        under_way = self.mark(PrefixState(primed_at=NOW, primes=1))
        assert decide_caching(under_way, 100, NOW + timedelta(hours=1)).most == 0
        assert decide_caching(under_way, 100, NOW + timedelta(hours=3)).step == "none"

    def test_five_minutes_are_for_quick_batches(self) -> None:
        rates: dict[CacheTtl, TokenRates] = {
            "5m": TokenRates(input=Decimal(1), write=Decimal("1.25"), read=Decimal("0.1")),
            "1h": self.RATES,
        }
        assert choose_ttl(rates, {}, 100.0, 3) == "5m"
        assert choose_ttl(rates, {}, 100.0, 2) == "1h"
        assert choose_ttl(rates, {}, 200.0, 3) == "1h"
        assert choose_ttl(rates, {"5m": CacheHits(read=1, written=9, requests=900)}, 100.0, 3) == "1h"
