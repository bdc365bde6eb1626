"""Plans with votes are what runs do: over random histories, and where stored answers complete a vote that goes up."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from desks import HEAD, THREE, Desk
from projects import numbered

from batchpipe.engine.plan.plan import DUE_REASONS, Plan
from batchpipe.engine.resolved.resolve import Resolved

SEEDS = 60
STEPS = 3
ROWS = 9
LABELS = ("billing", "bug", "other", "bug", "bug", "!")
CHOICES = (
    "edit rows",
    "edit the prompt",
    "edit accept",
    "edit accept",
    "edit members",
    "edit members",
    "edit samples",
    "edit quorum",
    "edit vote",
    "edit the top",
    "redo accept",
    "redo accept",
    "redo model",
    "redo all",
    "redo accept of some",
    "retry failed",
    "limit",
    "add a check",
)


class History:
    """A ladder with samples and a panel, which is edited, and the options of the next run."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self.desk, self.random = desk, Random(seed)
        self.rows = numbered(ROWS, german=2)
        self.prompt, self.samples, self.members = "", 2, list(THREE)
        self.accepts = ["_agreement = 1", "_agreement > 0.6"]
        self.quorum: int | None = None
        self.vote, self.top, self.check, self.next_id = "label", "claude-opus-4-8", "", 100
        self.options: dict[str, Any] = {}
        models = ("claude-haiku-4-5", "gpt-6-luna", "gemini-3.8-flash", "claude-sonnet-4-6", "claude-opus-4-8")
        draws = {each: [self.random.choice(LABELS) for _ in range(ROWS)] for each in models}
        desk.answers(draws)

    def write(self) -> None:
        head = HEAD.replace("{{ body }}", self.prompt + "{{ body }}") + self.check
        samples = f"samples = {self.samples}\n" if self.samples > 1 else ""
        first = self.accepts[0] if self.samples > 1 else "score >= 0.9"
        panel = f'panel = {json.dumps(self.members)}\nmax_tokens = 300\nvote = ["{self.vote}"]\n'
        quorum = f"quorum = {min(self.quorum, len(self.members))}\n" if self.quorum else ""
        self.desk.pipeline(
            f'{head}\n[[models]]\nmodel = "claude-haiku-4-5"\nmax_tokens = 200\n{samples}accept = "{first}"\n'
            f'[[models]]\n{panel}{quorum}accept = "{self.accepts[1]}"\n'
            f'[[models]]\nmodel = "{self.top}"\nmax_tokens = 300\n[retry]\nattempts = 2\n'
        )
        self.desk.rows(self.rows)

    def edit(self) -> str:
        """Make one random edit and return its name."""
        choice = self.random.choice(CHOICES)
        self.options = {}
        getattr(self, "_" + choice.replace(" ", "_"))()
        return choice

    def _edit_rows(self) -> None:
        for row in self.random.sample(self.rows, 2):
            row["body"] = f"text number {self.random.randint(1, ROWS)}"

    def _edit_the_prompt(self) -> None:
        self.prompt = self.random.choice(["", "Say: ", "Label: "])

    def _edit_accept(self) -> None:
        place = self.random.randrange(2)
        self.accepts[place] = self.random.choice(["_agreement = 1", "_agreement > 0.6", "_agreement > 0.3"])

    def _edit_members(self) -> None:
        every = [*THREE, "claude-sonnet-4-6", "claude-opus-4-8"]
        self.members = self.random.sample(every, self.random.randint(1, 4))

    def _edit_samples(self) -> None:
        self.samples = self.random.randint(1, 3)

    def _edit_quorum(self) -> None:
        self.quorum = self.random.choice([None, 1, 2, 3])

    def _edit_vote(self) -> None:
        self.vote = self.random.choice(["label", "score"])

    def _edit_the_top(self) -> None:
        self.top = self.random.choice(["claude-opus-4-8", "claude-sonnet-4-6"])

    def _redo_accept(self) -> None:
        self._edit_accept()
        self.options = {"redo": "accept"}

    def _redo_model(self) -> None:
        self._edit_members()
        self.options = {"redo": "model"}

    def _redo_all(self) -> None:
        self.options = {"redo": "all", "limit": 3}

    def _redo_accept_of_some(self) -> None:
        self._edit_accept()
        self.options = {"redo": "accept", "where": "id > 4"}

    def _retry_failed(self) -> None:
        self.options = {"retry_failed": True}

    def _limit(self) -> None:
        self._edit_members()
        self.options = {"limit": self.random.randint(1, 4)}

    def _add_a_check(self) -> None:
        self.check = self.random.choice(["", "[output.checks]\nno_bugs = \"label <> 'bug' OR id > 3\"\n"])


def check_step(desk: Desk, options: dict[str, Any], what: str) -> None:
    """Compare a plan with what the run that follows sends at once, and with the reasons that it records."""
    plan = desk.plan(**options)
    before, confirmed = desk.requests_sent(), []

    def confirm(resolved: Resolved, whole: Callable[[], Plan]) -> bool:
        confirmed.append(whole())
        return True

    desk.confirm = confirm
    result = desk.run(no_wait=True, **options)
    assert [(each.requests, each.estimate.cost_usd) for each in confirmed] == [(plan.requests, plan.estimate.cost_usd)]
    assert plan.requests == result.submitted == desk.requests_sent() - before, what
    assert sum(plan.rows_by_reason.values()) == plan.input == result.rows["input"], what
    assert sum(each.count for each in plan.chunks) == plan.requests, what
    reasons = dict(
        desk.sql(
            "SELECT reason, count(DISTINCT key_id) FROM ledger.requests WHERE run_id = $1 AND (send > 0 OR NOT leads) "
            "AND chunk_id IN (SELECT chunk_id FROM ledger.batches WHERE is_open) GROUP BY reason",
            [result.run_id],
        )
    )
    due = {word: plan.rows_by_reason[word] for word in DUE_REASONS if plan.rows_by_reason[word]}
    assert all(reasons[word] <= due.get(word, 0) for word in reasons), (what, reasons, due)
    if "limit" not in options:
        assert reasons == due, what


@pytest.mark.share(1)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_plan_is_what_run_does_where_rows_are_voted_on(desk: Desk, seed: int) -> None:
    history = History(desk, seed)
    history.write()
    done = ["first"]
    for _ in range(STEPS):
        check_step(desk, history.options, f"seed {seed}: {' > '.join(done)}")
        desk.run()
        done.append(history.edit())
        history.write()
    check_step(desk, history.options, f"seed {seed}: {' > '.join(done)}")
