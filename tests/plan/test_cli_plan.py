"""Tests of `batchpipe plan` and `batchpipe check`, which spend nothing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from commandline import CommandLine
from projects import BASIC, Project, numbered

from batchpipe.commands.plan.due_work import MEANINGS
from batchpipe.commands.printing.estimates import rungs_text
from batchpipe.engine.plan.plan import DUE_REASONS, REASONS


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Return the command line in a project of ten rows, whose emulator is the provider."""
    project.rows(numbered(10))
    project.pipeline()
    line = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    line.provide(project)
    return line


class TestPlan:
    def test_its_object(self, typed: CommandLine, project: Project) -> None:
        found = typed("plan", "demo", "--json")
        assert (found.code, found.talk) == (0, "")
        value = found.value
        assert list(value) == [
            "pipeline", "prompt_version", "rows", "due", "requests", "batches", "estimate", "waves", "hours"
        ]  # fmt: skip
        assert list(value["rows"]) == ["input", *REASONS, "removed"]
        estimate = value["estimate"]
        assert list(estimate) == [
            "input_tokens", "output_tokens", "cost_usd", "max_usd", "realtime_usd",
            "cost_low_usd", "cost_high_usd", "results_seen", "rungs", "caching",
        ]  # fmt: skip
        assert estimate["cost_low_usd"] < estimate["cost_usd"] < estimate["cost_high_usd"]
        assert (estimate["results_seen"], [each["requests"] for each in estimate["rungs"]]) == (0, [10])
        assert (value["waves"], value["hours"]) == (1, {"usual": 1, "high": 24, "batches_seen": 0})
        assert (value["pipeline"], value["prompt_version"]) == ("demo", "v1")
        assert (value["due"], value["requests"], value["batches"]) == (10, 10, 1)
        assert sum(value["rows"][word] for word in REASONS) == value["rows"]["input"] == 10
        assert 0 < value["estimate"]["cost_usd"] < value["estimate"]["max_usd"]
        assert value["estimate"]["realtime_usd"] == 2 * value["estimate"]["cost_usd"]

    def test_it_needs_no_database_and_makes_none(self, typed: CommandLine, project: Project) -> None:
        typed("plan", "demo")
        assert not list(project.root.rglob("*.duckdb"))
        assert project.requests_sent() == 0

    def test_it_needs_no_key(self, typed: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("ANTHROPIC_API_KEY")
        assert typed("plan", "demo").code == 0

    def test_it_says_what_a_run_then_does(self, typed: CommandLine, project: Project) -> None:
        typed("run", "demo")
        project.rows([*numbered(9, german=2), {"id": 11, "body": "new", "lang": "en", "amount": 1}])
        plan = typed("plan", "demo", "--json").value
        assert plan["rows"]["new"] == 1
        assert plan["rows"]["input_changed"] == 2
        assert plan["rows"]["unchanged"] == 7
        assert plan["rows"]["removed"] == 1
        assert plan["due"] == sum(plan["rows"][word] for word in DUE_REASONS) == 3
        run = typed("run", "demo", "--json").value
        assert (run["submitted"], run["prompt_version"]) == (plan["requests"], plan["prompt_version"])

    def test_orders_are_only_imagined(self, typed: CommandLine, project: Project) -> None:
        typed("run", "demo")
        for words, due in (
            (["--redo", "all"], 10),
            (["--redo", "id <= 4"], 4),
            (["--redo", "all", "--limit", "2"], 10),
        ):
            assert typed("plan", "demo", *words, "--json").value["due"] == due
        assert typed("plan", "demo", "--redo", "all", "--limit", "2", "--json").value["requests"] == 2
        assert typed("plan", "demo", "--redo", "all", "--where", "id = 1", "--json").value["rows"]["redo"] == 1
        assert typed("plan", "demo", "--json").value["due"] == 0
        assert project.sql("SELECT count(*) FROM ledger.orders") == [(0,)]

    def test_keep_and_no_new(self, typed: CommandLine, project: Project) -> None:
        typed("run", "demo")
        project.pipeline(BASIC.replace("{{ body }}", "Please: {{ body }}"))
        assert typed("plan", "demo", "--json").value["rows"]["prompt_changed"] == 10
        assert typed("plan", "demo", "--keep", "id > 3", "--json").value["rows"]["kept"] == 7
        assert typed("plan", "demo", "--no-new", "--json").value["requests"] == 0
        value = typed("plan", "demo", "--json").value
        assert value["prompt_version"] == "v2"

    def test_for_people(self, typed: CommandLine) -> None:
        text = typed("plan", "demo").out
        assert text.startswith("demo (prompt v1, new)\n  10 rows in the input:\n    10 new  not answered yet\n")
        assert "10 requests in 1 batch" in text
        assert "saved" in text
        assert "unchanged" not in text
        typed("run", "demo")
        text = typed("plan", "demo").out
        assert "10 unchanged" in text
        assert "nothing to send" in text

    def test_every_reason_has_a_meaning(self) -> None:
        assert tuple(MEANINGS) == REASONS

    def test_waves_and_batches(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(BASIC + "[chunking]\nmax_requests = 2\nmax_in_flight = 2\nmax_queued = 4\n")
        text = typed("plan", "demo").out
        assert " batches, 2 at a time" in text
        # Neighbours never share a size: batches of 2 and 1, two at a time.
        assert "about 4 h, up to 4 d: 4 waves (2 batches with 4 requests may wait at once)" in text
        assert typed("plan", "demo", "--json").value["waves"] == 4

    def test_above_a_budget(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(BASIC + "[budget]\nmax_usd = 0.000001\n")
        found = typed("plan", "demo")
        assert found.code == 6
        assert "[budget] max_usd under $0.0001" in found.out
        assert "the expected cost is above it" in found.out
        project.pipeline(BASIC + "[budget]\nmax_usd = 1\n")
        found = typed("plan", "demo")
        assert found.code == 0
        assert "[budget] max_usd $1.00: $1.00 left" in found.out

    @pytest.mark.parametrize("name", ["max_usd", "max_usd_per_day", "max_usd_per_month"])
    def test_climbs_and_what_is_in_flight_count_for_every_budget(
        self, typed: CommandLine, project: Project, name: str
    ) -> None:
        accept = 'max_tokens = 200\naccept = "score < 0"\n[[models]]\nmodel = "claude-opus-4-8"\nmax_tokens = 2000\n'
        ladder = BASIC.replace("max_tokens = 200\n", accept)
        project.pipeline(ladder)
        first, second = typed("plan", "demo", "--json").value["estimate"]["rungs"]
        between = first["cost_usd"] + second["cost_usd"] / 2
        project.pipeline(ladder + f"[budget]\n{name} = {between}\n")
        assert typed("plan", "demo").code == 6, "the first rung alone would fit"
        enough = (first["cost_usd"] + second["cost_usd"]) * 100
        project.pipeline(ladder + f"[budget]\n{name} = {enough}\n")
        assert typed("plan", "demo").code == 0
        project.faults({"delay_seconds": 3600})
        typed("run", "demo", "--no-wait", "--limit", "9")
        ((flying, most),) = project.sql("SELECT sum(expected_usd), sum(max_usd) FROM ledger.batches WHERE is_open")
        left = typed("plan", "demo", "--json").value["estimate"]["cost_usd"]
        for allowed, code in ((flying + left, 0), (flying + left - Decimal("0.000001"), 6)):
            assert allowed < most, "what is in flight counts as it is expected"
            project.pipeline(ladder + f"[budget]\n{name} = {allowed}\n")
            found = typed("plan", "demo")
            assert found.code == code
            assert " at most in flight" in found.out

    def test_days_that_a_budget_per_day_makes_of_it(self, typed: CommandLine, project: Project) -> None:
        cost = typed("plan", "demo", "--json").value["estimate"]["cost_usd"]
        project.pipeline(BASIC + f"[budget]\nmax_usd_per_day = {cost / Decimal('2.5')}\n")
        assert "the expected cost is above it: about 3 days" in typed("plan", "demo").out

    def test_an_order_in_force_and_a_pause(self, typed: CommandLine, project: Project) -> None:
        typed("run", "demo")
        project.faults({"delay_seconds": 3600})
        typed("run", "demo", "--redo", "id < 3", "--no-wait")
        typed("cancel", "demo")
        text = typed("plan", "demo").out
        assert "order 1 in force: --redo id < 3" in text
        assert "to go on: batchpipe run demo --resume" in text

    def test_keys_that_changed(self, typed: CommandLine, project: Project) -> None:
        typed("run", "demo")
        rows = [{**row, "id": row["id"] + 100} for row in numbered(10)]
        project.rows(rows)
        assert "run stops" not in typed("plan", "demo").out  # the same texts cost nothing
        project.rows([{**row, "body": f"new {row['id']}"} for row in rows])
        planned = typed("plan", "demo")
        assert (planned.code, "run with --approve" in planned.out) == (6, True)
        assert typed("run", "demo").code == 6
        assert typed("run", "demo", "--approve").code == 0

    def test_due_keys(self, typed: CommandLine) -> None:
        typed("run", "demo")
        found = typed("plan", "demo", "--rows", "--redo", "id = 7")
        assert found.out.endswith("id  reason\n7   redo\n")
        value = typed("plan", "demo", "--rows", "--redo", "id = 7", "--json").value
        assert value["due_rows"] == [{"key": ["7"], "reason": "redo"}]

    def test_several(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(BASIC.replace("{{ body }}", "{{ nothing }}"), name="wrong")
        found = typed("plan", "--json")
        assert found.code == 2
        assert [each["pipeline"] for each in found.value] == ["demo", "wrong"]
        assert found.value[0]["due"] == 10
        assert "`nothing`" in found.value[1]["error"]["message"]
        alone = typed("plan", "wrong", "--json")
        assert (alone.code, list(alone.value)) == (2, ["error"])

    def test_an_unpriced_model(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(BASIC.replace("claude-haiku-4-5", "claude-from-our-gateway"))
        found = typed("plan", "demo")
        assert found.code == 0
        assert "cost    unknown: a model has no price" in found.out
        assert "  no price is known for claude-from-our-gateway. Correct its name, or give its price" in found.out
        assert typed("plan", "demo", "--json").value["estimate"]["cost_usd"] is None

    def test_a_budget_that_cannot_be_kept_without_a_price(self, typed: CommandLine, project: Project) -> None:
        text = BASIC.replace("claude-haiku-4-5", "claude-from-our-gateway")
        project.pipeline(text + "\n[budget]\nmax_usd = 1.0\n")
        checked, planned, ran = typed("check"), typed("plan", "demo"), typed("run", "demo", "--yes")
        tried = typed("try", "demo", "1")
        every = (checked, planned, ran, tried)
        assert ([each.code for each in every], project.requests_sent()) == ([2, 2, 2, 2], 0)
        for each in every:
            assert "cannot be kept: no price is known for claude-from-our-gateway" in each.out + each.talk
            assert "Correct its name, or give its price in a file" in each.out + each.talk
        assert "  [budget] max_usd cannot be kept" in planned.out
        assert "[budget] max_usd cannot be kept" in ran.talk


def test_each_rung_has_its_requests(project: Project) -> None:
    project.rows(numbered(1))
    accept = 'max_tokens = 200\naccept = "score > 2"\n[[models]]\nmodel = "claude-opus-4-8"\nmax_tokens = 200\n'
    project.pipeline(BASIC.replace("max_tokens = 200\n", accept))
    estimate = project.plan().estimate
    first, second = estimate.rungs
    assert rungs_text(replace(estimate, rungs=(first,))) == ""
    for requests, cost_usd, expected in (
        (1_234.4, Decimal("1.5"), "1,234 requests to claude-haiku-4-5 for $1.50"),
        (2.4, Decimal("0.0036"), "2.4 requests to claude-haiku-4-5 for $0.0036"),
        (2.0, Decimal("0.0036"), "2 requests to claude-haiku-4-5 for $0.0036"),
        (1.0, Decimal("0.0005"), "1 request to claude-haiku-4-5 for $0.0005"),
        (0.2, Decimal("0.0003"), "0.2 requests to claude-haiku-4-5 for $0.0003"),
        (0.04, None, "fewer than 0.1 requests to claude-haiku-4-5 at an unknown price"),
    ):
        rungs = (replace(first, requests=requests, cost_usd=cost_usd), second)
        assert rungs_text(replace(estimate, rungs=rungs)).startswith(f"expected, with retries: {expected}, ")


EXPLAINED = BASIC.replace(
    'enum = ["billing", "bug", "other"]', 'enum = { billing = "Charges", bug = "Broken", other = "The rest" }'
)


class TestCheck:
    def test_all_is_well(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(EXPLAINED)
        found = typed("check")
        assert (found.code, found.out) == (0, "pipelines/demo.toml: ok\n")

    def test_its_object(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(EXPLAINED)
        value = typed("check", "demo", "--json").value
        assert value == {
            "pipeline": "demo",
            "file": "pipelines/demo.toml",
            "ok": True,
            "problems": [],
            "warnings": [],
        }
        assert typed("check", "--json").value == [value]

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ("{{ body }}", "{{ bdy }}", "there is no input column, var or query `bdy`"),
            ("{{ body }}", "{{ amount.upper() }}", "the template cannot be rendered"),
            ('key = "id"', 'key = "idd"', "the input has no column 'idd'"),
            ('key = "id"', 'kye = "id"', 'unknown key "kye"'),
            ("SELECT id", "SELEC id", "this is not SQL"),
            ("SELECT id", "SELECT nothing, id", "the query failed"),
            ("max_tokens = 200", "max_tokens = 200_000_000", "max_tokens"),
            ("max_tokens = 200", 'max_tokens = 200\naccept = "score"', "not true or false"),
            ("maximum = 1", 'maximum = 1\ncolumn = "NOPE"', "NOPE"),
            ("[output.fields.label]", '[output]\nafter = ["INSRT x"]\n[output.fields.label]', "this is not SQL"),
            ("[input]", f'name = "{"a" * 101}"\n[input]', 'cannot be "aaaa'),
            ("[[models]]", "[pilot]\nrows = 0\n[[models]]", "cannot be 0"),
            ("[[models]]", "[pilot]\nmin_accuracy = 0.9\n[[models]]", "min_accuracy needs [eval]"),
        ],
        ids=lambda value: value[:30],
    )
    def test_a_problem(self, typed: CommandLine, project: Project, old: str, new: str, expected: str) -> None:
        (project.root / "pipelines" / "demo.toml").write_text(BASIC.replace(old, new), encoding="utf-8")
        found = typed("check")
        assert found.code == 2
        assert expected in found.out
        assert "pipelines/demo.toml" in found.out
        value = typed("check", "demo", "--json").value
        assert not value["ok"]
        assert any(expected in each["message"] for each in value["problems"])
        assert all(each["where"] and each["hint"] for each in value["problems"])

    def test_a_template_that_fails_on_null(self, typed: CommandLine, project: Project) -> None:
        project.rows([{"id": 1, "body": "", "lang": "en", "amount": 1}])
        project.pipeline(
            BASIC.replace("{{ body }}", "{{ body.upper() }}").replace(
                "SELECT id, body", "SELECT id, nullif(body, '') AS body"
            )
        )
        found = typed("check")
        assert found.code == 2
        assert "the template cannot be rendered" in found.out

    def test_a_row_that_does_not_render_is_named(self, typed: CommandLine, project: Project) -> None:
        project.rows([{"id": n, "body": "" if n == 7 else "x", "lang": "en", "amount": n} for n in range(1, 9)])
        project.pipeline(BASIC.replace("{{ body }}", "{{ 1 // (body | length) }}"))
        for command in ("plan", "run"):
            found = typed(command, "demo")
            assert found.code == 2
            assert "cannot be rendered" in found.talk
            assert "(the row with the key 7)" in found.talk

    def test_each_file_is_checked(self, typed: CommandLine, project: Project) -> None:
        (project.root / "pipelines" / "broken.toml").write_text("nonsense", encoding="utf-8")
        project.pipeline('name = "demo"\n' + BASIC, name="again")
        found = typed("check")
        assert found.code == 2
        assert 'the pipeline name "demo" is also that of' in found.out
        assert "pipelines/broken.toml: 1 problem" in found.out

    def test_a_query_that_is_not_deterministic_is_a_warning(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(BASIC.replace("SELECT id,", "SELECT now() AS moment, id,"))
        found = typed("check")
        assert found.code == 0
        assert "warning: pipelines/demo.toml:3 [input] query: the query is not deterministic" in found.out
        assert typed("run", "demo").talk.count("deterministic") == 0

    def test_a_budget_without_a_price(self, typed: CommandLine, project: Project) -> None:
        text = BASIC.replace("claude-haiku-4-5", "claude-from-our-gateway")
        project.pipeline(text)
        found = typed("check")
        assert found.code == 0
        assert "warning: " in found.out
        project.pipeline(text + "[budget]\nmax_usd = 1\n")
        found = typed("check")
        assert found.code == 2
        assert "the budget cannot be kept" in found.out

    def test_a_variable_that_is_not_set(self, typed: CommandLine, project: Project) -> None:
        text = BASIC.replace(
            "[output.fields.label]", "[output]\nafter = [\"SELECT '${TARGET}'\"]\n[output.fields.label]"
        )
        project.pipeline(text)
        found = typed("check")
        assert found.code == 0
        assert "TARGET" in found.out

    def test_params(self, typed: CommandLine, project: Project) -> None:
        text = BASIC.replace("SELECT id,", "SELECT $first + id AS id,")
        project.pipeline(text.replace('key = "id"', 'key = "id"\nparams = { first = 1 }'))
        assert typed("check", "--param", "first=5").code == 0
        assert typed("check", "--param", "frist=5").code == 2
