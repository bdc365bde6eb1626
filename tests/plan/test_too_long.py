"""Tests of rows that are too long for a model of the ladder: they go up unpaid, or fail with a hint."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from calls import call_here
from projects import BASIC, Project

from batchpipe.decide.verdict import LadderPolicy, Standing, decide

SMALL, LARGE = "claude-haiku-4-5", "claude-sonnet-4-6"  # 200,000 and 1,000,000 tokens
LADDER = (
    BASIC.replace("read_csv('rows.csv', types = {'id': 'BIGINT', 'amount': 'INTEGER'})", "'rows.parquet'")
    + '[[models]]\nmodel = "claude-sonnet-4-5"\nmax_tokens = 200\n'
    + f'[[models]]\nmodel = "{LARGE}"\nmax_tokens = 200\n'
)
WORDS = ("invoice", "delivery", "the", "customer", "of", "a", "late", "refund", "and", "because")
# A document of 470,000 tokens, one that may fit by its bytes but does not, one that no model takes, one of a few words.
BYTES = {1: 1_880_000, 2: 1_000_000, 3: 4_200_000, 4: 40}


def document(size: int) -> str:
    draw, found, length = random.Random(size), [], 0
    while length < size:
        found.append(draw.choice(WORDS))
        length += len(found[-1]) + 1
    return " ".join(found)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Any, Any]]:
    """A project whose run has ended, with the plan before it and what was printed of it."""
    project = Project(tmp_path_factory.mktemp("long"))
    project.pipeline(LADDER)
    rows = [(number, document(size)) for number, size in BYTES.items()]
    with duckdb.connect() as database:
        database.execute(
            "CREATE TABLE rows (id BIGINT, body VARCHAR, lang VARCHAR DEFAULT 'en', amount INTEGER DEFAULT 1)"
        )
        database.executemany("INSERT INTO rows (id, body) VALUES ($1, $2)", rows)
        database.execute(f"COPY rows TO '{project.root}/rows.parquet'")
    plan = project.plan()
    printed = [
        call_here(project, *words) for words in (("plan", "demo"), ("plan", "demo", "--json"), ("check", "demo"))
    ]
    project.run()
    yield project, plan, printed
    project.close()


def test_plan_counts_and_prices_them_apart(long: tuple[Project, Any, Any]) -> None:
    _, plan, printed = long
    certain = [each for each in plan.too_long if each.certain]
    assert [(each.model, each.goes_to, each.requests) for each in certain if each.goes_to] == [(SMALL, LARGE, 1)]
    tried = [each for each in plan.too_long if not each.certain]
    assert [(each.model, each.goes_to, each.requests) for each in tried] == [(SMALL, LARGE, 1)]
    assert all(Decimal("0.3") < each.cost_usd < 3 for each in plan.too_long if each.goes_to)
    assert [(each.tried, each.requests) for each in plan.too_long if each.goes_to is None] == [(LARGE, 1)]
    # What is expected to be refused costs nothing; what goes up is paid for there.
    above = sum(each.cost_usd for each in plan.too_long if each.goes_to)
    assert above <= plan.estimate.cost_usd < above + Decimal("0.01")
    text, value, _ = printed
    assert f"for {SMALL}, which takes 200,000: they go to {LARGE} for $" in text.stdout
    assert "no rung takes them" in text.stdout
    assert '"too_long"' in value.stdout


def test_check_counts_them_with_their_price(long: tuple[Project, Any, Any]) -> None:
    checked = long[2][2]
    assert checked.returncode == 0
    assert "2 rows with about" in checked.stdout
    assert f"too long for {SMALL} (200,000)" in checked.stdout
    assert f"They go to {LARGE}, for about $" in checked.stdout
    assert "1 row with about" in checked.stdout
    assert "No rung takes them" in checked.stdout


def test_each_goes_to_the_first_rung_that_takes_it_and_refusals_cost_nothing(long: tuple[Project, Any, Any]) -> None:
    project = long[0]
    sent = project.sql(
        "SELECT (q.key ->> 0)::INTEGER, list(q.rung ORDER BY q.seq) FROM ledger.requests q GROUP BY ALL ORDER BY ALL"
    )
    # The rung between them takes no more than the first, and is passed over.
    assert dict(sent) == {1: [3], 2: [1, 3], 3: [3], 4: [1]}
    refused = project.sql(
        "SELECT r.outcome, r.cost_usd FROM ledger.results r JOIN ledger.requests q USING (custom_id) "
        "WHERE (q.key ->> 0 = '2' AND q.rung = 1) OR q.key ->> 0 = '3'"
    )
    assert refused == [("context_window", 0), ("context_window", 0)]
    states = dict(project.sql("SELECT (key ->> 0)::INTEGER, state FROM ledger.row_state"))
    assert states == {1: "accepted", 2: "accepted", 3: "failed", 4: "accepted"}
    ((error,),) = project.sql("SELECT error FROM ledger.row_state WHERE state = 'failed'")
    assert "prompt is too long" in error
    assert "add a rung whose model takes more" in error


@pytest.mark.parametrize(
    ("contexts", "goes_to"),
    [((200, 200, 1_000), 3), ((200, None, 1_000), 2), ((200, 200, 200), None), ((None, 200, 1_000), 2), ((), 2)],
)
def test_the_ladder_passes_over_rungs_that_take_no_more(contexts: tuple[int | None, ...], goes_to: int | None) -> None:
    policy = LadderPolicy(attempts=3, transient=5, max_tokens=(1, 1, 1), caps=(None,) * 3, contexts=contexts)
    standing = Standing(rung=1, attempt=1, transients=0, max_tokens=1, rungs=7, has_earlier_answer=False)
    verdict = decide("context_window", standing, policy)
    assert (verdict.rung if verdict.state == "escalated" else None) == goes_to
