"""Prompt caching with `cache = "auto"`: the bill, priming, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from clocked import Clock
from projects import Project, numbered

RULES = "".join(f"Rule {number}: a ticket of this kind goes to its own queue, always. " for number in range(250))[:12_000]
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
SLOW = {"delay_seconds": 1_200, "requests": [{"output": {"label": "billing"}}]}

Make = Callable[[str], Project]


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
    """What `count` rows cost when batches take 20 minutes; `primed` by a run of one row before."""
    with another(root) as project:
        project.faults(SLOW)
        write(project, cache, count, **prompt)
        clock = Clock(project=project, step=300.0)
        if primed:
            assert clock.run(limit=1).error is None
        outcome = clock.run()
        assert (outcome.error, outcome.result.rows["accepted"]) == (None, count)
        return spent(project)


def spent(project: Project) -> Decimal:
    return project.sql("SELECT sum(cost_usd) FROM ledger.results")[0][0]


@pytest.mark.parametrize("count", [10, 1_000, 10_000])
def test_the_bill_is_within_5_percent_of_the_best(tmp_path: Path, count: int) -> None:
    ways = [("off", False), ("1h", True)]
    if count < 10_000:
        ways += [("5m", False), ("1h", False), ("5m", True)]
    bills = {way: bill(tmp_path / f"{way[0]}-{way[1]}", way[0], count, primed=way[1]) for way in ways}
    auto = bill(tmp_path / "auto", "auto", count)
    print(count, "auto", auto, bills)
    assert auto <= min(bills.values()) * Decimal("1.05")
