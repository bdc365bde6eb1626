"""Tests of what a budget holds and says: bounds by versions, unknown costs, waiting, and a limit that was passed."""

from __future__ import annotations

from decimal import Decimal

from calls import call_here
from helpers.costly import GOOD
from projects import BASIC, Project, numbered

WITH_REASON = BASIC.replace("[[models]]", '[output.fields.why]\ntype = "string"\n[[models]]').replace("= 200", "= 2000")
SHORT = {"requests": [{"output": {**GOOD, "why": "x" * 40}}]}
LONG = {"requests": [{"output": {**GOOD, "why": "x" * 7000}}]}


def budget(text: str, prompt: str = "") -> str:
    return WITH_REASON.replace('"{{ body }}', f'"{prompt}{{{{ body }}}}') + f"[budget]\n{text}\n"


def reserves(project: Project) -> list[tuple[int, Decimal, Decimal]]:
    """Return requests, reserve and most of each chunk, in US dollars."""
    return project.sql(
        "SELECT (data ->> 'requests')::INTEGER, (data ->> 'reserve_usd')::DECIMAL(18, 9), "
        "(data ->> 'max_usd')::DECIMAL(18, 9) FROM ledger.events WHERE kind = 'chunk_prepared' ORDER BY seq"
    )


def test_the_reserve_is_the_most_at_first_then_a_bound_also_by_an_earlier_version(project: Project) -> None:
    project.faults(SHORT)
    project.rows(numbered(60))
    project.pipeline(budget("max_usd = 5"))
    project.run()
    project.rows(numbered(120))
    project.run()
    project.pipeline(budget("max_usd = 5", prompt="Label: "))
    project.run(limit=60)
    project.pipeline(budget('max_usd = 5\nreserve = "most"', prompt="Label: "))
    project.run(limit=30)
    first, second, earlier, most = reserves(project)
    assert [each[0] for each in (first, second, earlier, most)] == [60, 60, 60, 30]
    assert first[1] == first[2]
    assert second[1] < second[2] / 2
    assert earlier[1] < earlier[2] / 2
    assert most[1] == most[2]


def test_results_of_unknown_cost_count_as_the_most(project: Project) -> None:
    project.faults({"requests": [{"output": {**GOOD, "why": "x"}, "message": {"usage": None}}]})
    project.rows(numbered(40))
    project.pipeline(budget("max_usd = 5"))
    project.run()
    project.rows(numbered(60))
    project.run()
    (_, second) = reserves(project)
    assert second[1] == second[2]


def test_what_waits_is_said_and_a_limit_that_was_passed_too(project: Project) -> None:
    project.faults(SHORT)
    project.rows(numbered(300))
    project.pipeline(budget("max_usd = 5"))
    cost = project.run().cost_usd / 300
    # Answers that nothing foretold: the same rows now fill their room.
    project.rows(numbered(700))
    project.pipeline(budget(f"max_usd = {cost * 1000}"))
    project.faults({**LONG, "delay_seconds": 3600})
    waiting = project.run(no_wait=True)
    assert (waiting.status, 0 < waiting.submitted < 400) == ("pending", True)
    assert any("requests wait for room in [budget] max_usd" in each for each in project.said)
    status = call_here(project, "status", "demo")
    assert f"{400 - waiting.submitted} requests for room in [budget] max_usd" in status.stdout
    assert project.run(no_wait=True).submitted == 0

    project.faults(LONG)
    project.control("clock", {"advance_seconds": 4000})
    passed = project.run()
    assert (passed.status, passed.submitted) == ("gate", 0)
    ((spent,),) = project.sql("SELECT sum(cost_usd) FROM ledger.results")
    allowed = cost * 1000
    assert spent > allowed
    # By no more than the wave exceeded its reserve, and it is said: at the gate, at the end, in the ledger, by plan.
    _, wave = reserves(project)
    assert spent - allowed <= passed.cost_usd - wave[1]
    assert "is passed" in (passed.gate or "")
    assert any("more than allowed" in each and 'reserve = "most"' in each for each in project.said)
    assert project.sql("SELECT count(*) FROM ledger.events WHERE kind = 'budget_passed'") == [(1,)]
    assert "[budget] max_usd" in call_here(project, "plan", "demo").stdout


def test_a_request_without_room_holds_up_no_other_and_plan_says_so(project: Project) -> None:
    # The third row may cost more than the budget; all others go up the ladder.
    project.rows([each | {"body": "word " * 12_000} if each["id"] == 3 else each for each in numbered(6)])
    above = '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 200\n'
    project.pipeline(f'{BASIC}accept = "score > 2"\n{above}[budget]\nmax_usd = 0.03\n')
    plan = call_here(project, "plan", "demo")
    assert plan.returncode == 6
    assert "1 request may cost more: a run sends the others and stops" in plan.stdout

    done = project.run()
    assert (done.status, done.rows["accepted"], done.batches) == ("gate", 5, 2)
    assert "is reached" in (done.gate or "")
    assert (project.plan().requests, project.plan().estimate.without_room) == (1, 1)
    again = project.run()
    assert (again.status, again.submitted) == ("gate", 0)
