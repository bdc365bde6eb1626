"""An edited ladder pays nothing: the plan says what was edited, and what an order to go by it would send."""

from __future__ import annotations

from decimal import Decimal

from calls import ask
from projects import BASIC, Project, numbered

from batchpipe.commands.call.options import PlanRequest
from batchpipe.commands.plan.plan import plan

LADDER = BASIC + 'accept = "score >= 0"\n[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 300\n'


def test_the_plan_says_what_was_edited_and_what_going_by_it_would_cost(project: Project) -> None:
    project.pipeline(LADDER)
    project.rows(numbered(4))
    answers = [
        {"match": f"number {n}", "outcome": "output", "output": {"label": "bug", "score": n / 10}} for n in range(1, 5)
    ]
    project.faults({"requests": answers})
    project.run()
    assert "edited" not in ask(project, plan, PlanRequest(pipelines=["demo"]), as_json=True).value
    project.pipeline(LADDER.replace("score >= 0", "score >= 0.25"))
    printed = ask(project, plan, PlanRequest(pipelines=["demo"]))
    assert "accept of rung 1 was edited: score >= 0 before, score >= 0.25 now: answers stay" in printed.out
    assert "batchpipe run demo --redo accept sends 2 requests, about $" in printed.out
    value = ask(project, plan, PlanRequest(pipelines=["demo"]), as_json=True).value
    (edit,) = value["edited"]
    assert (value["due"], edit["argument"], edit["requests"]) == (0, "accept", 2)
    assert 0 < edit["cost_usd"] <= edit["max_usd"] < Decimal("0.1")
    project.pipeline(LADDER.replace("claude-haiku-4-5", 'claude-haiku-4-5"\ntemperature = 0.5\n#"'))
    value = ask(project, plan, PlanRequest(pipelines=["demo"]), as_json=True).value
    (edit,) = value["edited"]
    assert (value["due"], edit["argument"], edit["requests"]) == (0, "model", 4)
    assert "claude-haiku-4-5 (4 rows)" in edit["what"]
    # Under the order itself there is nothing left to say.
    assert "edited" not in ask(project, plan, PlanRequest(pipelines=["demo"], redo="model"), as_json=True).value
