"""Tests that `run` does what `plan` showed before, number by number, over random histories of edits and runs."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from projects import Project, numbered

from batchpipe.engine.plan.plan import DUE_REASONS

SEEDS = 300
STEPS = 6
CHOICES = (
    "edit rows",
    "edit a branch",
    "edit the common part",
    "add a field",
    "change a bound",
    "change the model",
    "retype the key",
    "remove rows",
    "add rows",
    "change a check",
    "change accept",
    "rerun rules",
    "redo half",
    "redo where",
    "keep some",
    "retry failed",
    "try some",
    "go back",
    "withdraw",
)


class History:
    """A pipeline and its input, which are edited, and the options of the next run."""

    def __init__(self, project: Project, seed: int) -> None:
        self.project, self.random = project, Random(seed)
        self.rows = numbered(14, german=4)
        self.common, self.branch, self.fields, self.minimum = "Label this: ", "Auf Deutsch.", ["label"], 0.0
        self.model, self.key_type, self.check, self.accept, self.rerun = "claude-haiku-4-5", "BIGINT", "", "", ""
        self.past: list[tuple[str, str]] = []
        self.options: dict[str, Any] = {}
        self.next_id = 100

    def write(self) -> None:
        extra = "".join(f'[output.fields.{each}]\ntype = "string"\n' for each in self.fields[1:])
        text = f"""
[input]
query = "SELECT id, body, lang, amount FROM read_csv('rows.csv', types = {{'id': '{self.key_type}'}})"
key = "id"
[prompt]
user_text = "{self.common}{{{{ body }}}}{{% if lang == 'de' %}} {self.branch}{{% endif %}}"
[output.fields.label]
type = "string"
enum = ["billing", "bug", "other"]
[output.fields.score]
type = "number"
minimum = {self.minimum}
maximum = 1
{extra}
{self.check}
[[models]]
model = "{self.model}"
max_tokens = 200
{self.accept}
[[models]]
model = "claude-sonnet-4-6"
max_tokens = 300
[retry]
attempts = 2
{self.rerun}
"""
        self.project.pipeline(text)
        self.project.rows(self.rows)

    def edit(self) -> str:
        """Make one random edit and return its name."""
        choice = self.random.choice(CHOICES)
        self.past.append((self.common, self.branch))
        self.options = {}
        getattr(self, "_" + choice.replace(" ", "_"))()
        if self.random.random() < 0.2:
            self.options["limit"] = self.random.randint(1, 6)
        return choice

    def _some(self) -> list[dict[str, Any]]:
        return self.random.sample(self.rows, min(len(self.rows), self.random.randint(1, 3)))

    def _edit_rows(self) -> None:
        for row in self._some():
            row["body"] = f"edited {self.random.randint(1, 4)}"

    def _edit_a_branch(self) -> None:
        self.branch = f"Auf Deutsch {self.random.randint(1, 3)}."

    def _edit_the_common_part(self) -> None:
        self.common = f"Label {self.random.randint(1, 3)}: "

    def _add_a_field(self) -> None:
        self.fields.append(f"field_{len(self.fields)}")

    def _change_a_bound(self) -> None:
        self.minimum = self.random.choice([0.0, 0.1, 0.3])

    def _change_the_model(self) -> None:
        self.model = self.random.choice(["claude-haiku-4-5", "claude-opus-4-8"])

    def _retype_the_key(self) -> None:
        self.key_type = self.random.choice(["BIGINT", "VARCHAR", "INTEGER"])

    def _remove_rows(self) -> None:
        for row in self._some():
            self.rows.remove(row)

    def _add_rows(self) -> None:
        for _ in range(self.random.randint(1, 3)):
            self.next_id += 1
            self.rows.append({"id": self.next_id, "body": f"text {self.next_id % 7}", "lang": "en", "amount": 1})

    def _change_a_check(self) -> None:
        self.check = self.random.choice(["", "[output.checks]\nno_bugs = \"label <> 'bug'\"\n"])

    def _change_accept(self) -> None:
        self.accept = self.random.choice(["", 'accept = "score >= 0.3"', 'accept = "score >= 0.6"'])

    def _rerun_rules(self) -> None:
        rule = self.random.choice(["", "prompt_changed = false", "input_changed = \"lang = 'de'\""])
        self.rerun = f"[rerun]\n{rule}\n" if rule else ""

    def _redo_half(self) -> None:
        self.options = {"redo": "all", "limit": 5}

    def _redo_where(self) -> None:
        self.options = {"redo": self.random.choice(["label = 'bug'", "accept", "model", "id::INTEGER % 2 = 0"])}
        if self.options["redo"] == "accept" and not self.accept:
            self.accept = 'accept = "score >= 0.3"'

    def _keep_some(self) -> None:
        self.common = "Say which: "
        self.options = {"keep": "lang <> 'de'"}

    def _retry_failed(self) -> None:
        self.options = {"retry_failed": True}

    def _try_some(self) -> None:
        self.write()
        self.project.attempt(rows=3)

    def _go_back(self) -> None:
        self.common, self.branch = self.random.choice(self.past)

    def _withdraw(self) -> None:
        open_orders = self.project.open_orders()
        self.options = {"withdraw": tuple(self.random.sample(open_orders, 1))} if open_orders else {}


def check_step(project: Project, options: dict[str, Any], what: str) -> None:
    """Compare a plan with the requests, reasons and decisions of the run that follows."""
    plan = project.plan(**options)
    before = project.requests_sent()
    result = project.run(no_wait=True, **options)
    sent = project.requests_sent() - before
    assert (plan.requests, len(plan.chunks)) == (result.submitted, result.batches), what
    assert plan.requests == sent, what
    assert sum(plan.rows_by_reason.values()) == plan.input == result.rows["input"], what
    for word in ("unchanged", "carried_over"):
        assert plan.rows_by_reason[word] == result.rows[word], (what, word)
    assert plan.removed == result.rows["removed"], what
    reasons = dict(
        project.sql(
            "SELECT reason, count(*) FROM ledger.requests WHERE run_id = $1 AND (send > 0 OR NOT leads) "
            "AND reason <> 'carried_over' GROUP BY reason",
            [result.run_id],
        )
    )
    due = {word: plan.rows_by_reason[word] for word in DUE_REASONS if plan.rows_by_reason[word]}
    if "limit" in options:
        assert all(reasons[word] <= due.get(word, 0) for word in reasons), what
        assert sum(reasons.values()) == min(options["limit"], sum(due.values())), what
    else:
        assert reasons == due, what
    if plan.rows_by_reason["kept"]:
        assert result.rows["kept"] >= plan.rows_by_reason["kept"], what


@pytest.mark.share(2)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_plan_is_what_run_does(project: Project, seed: int) -> None:
    history = History(project, seed)
    project.faults({"requests": [{"match": "text number 5", "outcome": "invalid_json", "times": 3}]})
    history.write()
    done = ["first"]
    for _ in range(STEPS):
        check_step(project, history.options, f"seed {seed}: {' > '.join(done)}")
        project.run()
        done.append(history.edit())
        history.write()
    check_step(project, history.options, f"seed {seed}: {' > '.join(done)}")
