"""Tests of `report`: every number is compared with SQL written by hand."""

from __future__ import annotations

from decimal import Decimal

import duckdb
from calls import ask
from helpers.reports import reported
from projects import BASIC, Project, numbered

from batchpipe.commands.report.report import report

HALF = BASIC.replace("max_tokens = 200", 'max_tokens = 200\naccept = "score < 0.5"') + (
    '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 200\n'
)


def test_the_ladder_is_counted_by_rung(project: Project) -> None:
    project.pipeline(HALF)
    project.rows(numbered(40))
    project.faults(
        {
            "requests": [
                {"match": "number 3", "outcome": "out_of_range", "times": 1},
                {"match": "number 5", "outcome": "errored_overloaded", "times": 1},
            ]
        }
    )
    project.run()
    found = reported(project)
    by_hand = project.sql(
        """
        SELECT q.rung, q.model, count(*), count(*) FILTER (q.reason = 'retry'), sum(r.cost_usd),
            sum(r.realtime_usd), sum(r.input_tokens), sum(r.output_tokens), count(*) FILTER (r.outcome = 'answered')
        FROM ledger.results r JOIN ledger.requests q USING (custom_id) WHERE q.leads GROUP BY ALL ORDER BY ALL
        """
    )
    shown = [
        tuple(
            each[name]
            for name in (
                "rung",
                "model",
                "requests",
                "retries",
                "cost_usd",
                "realtime_usd",
                "input_tokens",
                "output_tokens",
                "answered",
            )
        )
        for each in found["rungs"]
    ]
    assert shown == by_hand
    first, second = found["rungs"]
    assert first["retries"] == 2
    assert first["answered"] - first["valid"] == 1
    assert first["valid"] == first["accepted"] + first["escalated"]
    assert second["requests"] == first["escalated"] == second["accepted"] > 0
    ((accepted_below,),) = project.sql("SELECT count(*) FROM demo WHERE _rung = 1")
    assert first["accepted"] == accepted_below
    assert abs(first["escalated_share"] - Decimal(first["escalated"]) / first["requests"]) < Decimal("1e-12")


def test_totals_savings_and_dollars_per_thousand_are_exact(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(30))
    project.run()
    found = reported(project)
    ((cost, realtime, read, written),) = project.sql(
        "SELECT sum(cost_usd), sum(realtime_usd), sum(input_tokens)::BIGINT, sum(output_tokens)::BIGINT "
        "FROM ledger.spend"
    )
    total = found["total"]
    assert (total["cost_usd"], total["realtime_usd"]) == (cost, realtime)
    assert (total["input_tokens"], total["output_tokens"]) == (read, written)
    assert cost == read * Decimal("0.0000005") + written * Decimal("0.0000025")
    assert found["saved_usd"] == realtime - cost == cost
    assert found["rows_answered"] == 30
    assert found["usd_per_1000_accepted"] == (cost * 1000 / 30).quantize(Decimal("1E-15"))
    (day,) = found["days"]
    assert (day["requests"], day["cost_usd"]) == (30, cost)
    (run,) = found["runs"]
    assert (run["submitted"], run["results"], run["cost_usd"]) == (30, 30, cost)
    text = ask(project, report, ["demo"]).out
    assert "30 with an accepted answer" in text
    assert "1 claude-haiku-4-5" in text


def test_identical_rows_are_paid_once(project: Project) -> None:
    project.pipeline()
    project.rows([{"id": n, "body": "the same", "lang": "en", "amount": 1} for n in range(10)])
    project.run()
    found = reported(project)
    assert found["total"]["requests"] == 1
    assert found["rows_answered"] == 10


def test_each_prompt_version_and_run_has_its_own_sums(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(8, german=3))
    project.run()
    project.pipeline(BASIC.replace("Auf Deutsch", "In deutscher Sprache"))
    project.run()
    found = reported(project)
    assert [(each["version"], each["requests"]) for each in found["versions"]] == [("v1", 8), ("v2", 3)]
    assert [each["submitted"] for each in found["runs"]] == [3, 8]
    assert sum(each["cost_usd"] for each in found["versions"]) == found["total"]["cost_usd"]
    assert sum(each["cost_usd"] for each in found["runs"]) == found["total"]["cost_usd"]


def test_answers_without_a_price_are_counted(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.run()
    with duckdb.connect(str(project.root / "batchpipe.duckdb")) as connection:
        connection.execute(
            "UPDATE ledger.results SET cost_usd = NULL WHERE custom_id <> (SELECT min(custom_id) FROM ledger.results)"
        )
    found = reported(project)
    ((cost, unpriced),) = project.sql("SELECT sum(cost_usd), count(*) FILTER (cost_usd IS NULL) FROM ledger.results")
    assert found["total"]["unpriced"] == unpriced == 3
    assert found["total"]["cost_usd"] == cost
    assert "3 results not in these sums" in ask(project, report, ["demo"]).out


def test_answers_judged_again_cost_nothing_and_are_not_counted_twice(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(6))
    project.run()
    before = reported(project)["total"]
    project.pipeline(BASIC.replace("maximum = 1", "maximum = 2"))
    assert project.run().submitted == 0
    assert reported(project)["total"] == before


def test_what_is_in_flight_is_told_with_the_most_it_can_cost(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    project.faults({"delay_seconds": 3600})
    project.run(no_wait=True)
    found = reported(project)
    ((most,),) = project.sql("SELECT sum(max_usd) FROM ledger.batches WHERE is_open")
    assert found["in_flight"] == {"batches": 1, "requests": 5, "max_usd": most}
    assert found["usd_per_1000_accepted"] is None
    assert "nothing was spent yet, 5 requests in flight" in ask(project, report, ["demo"]).out


def test_every_pipeline_is_listed_without_arguments(project: Project) -> None:
    project.pipeline()
    project.pipeline(name="second")
    project.rows(numbered(2))
    project.run()
    found = ask(project, report, [], as_json=True).value
    assert [(each["pipeline"], each["total"]["requests"]) for each in found] == [("demo", 2), ("second", 0)]


def test_each_runs_estimate_is_held_against_what_it_came_to(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(60))
    project.run(limit=30)
    assert project.run().submitted == 30
    project.pipeline(BASIC.replace("{{ body }}", "Please: {{ body }}"))
    project.run(limit=25)
    found = reported(project)
    by_hand = project.sql(
        """
        SELECT run_id::VARCHAR, sum(expected_usd), sum(cost_usd)
        FROM (SELECT DISTINCT run_id, chunk_id, expected_usd FROM ledger.batches)
        JOIN (SELECT chunk_id, sum(cost_usd) AS cost_usd FROM ledger.results GROUP BY chunk_id) USING (chunk_id)
        GROUP BY run_id ORDER BY run_id DESC
        """
    )
    shown = [(each["run_id"], each["expected_usd"], each["actual_usd"]) for each in found["estimates"]]
    assert shown == by_hand
    assert [each["version"] for each in found["estimates"]] == ["v2", "v1", "v1"]
    for each in found["estimates"]:
        assert each["low_usd"] < each["expected_usd"] < each["high_usd"]
        assert each["within"] == (each["low_usd"] <= each["actual_usd"] <= each["high_usd"])
    new, after, before = found["estimates"]
    widths = [each["high_usd"] / each["low_usd"] for each in (before, new, after)]
    assert widths == sorted(widths, reverse=True), "the more is known, the narrower"
    assert after["within"]
    whole = found["estimate"]
    assert (whole["requests"], whole["actual_usd"]) == (85, found["total"]["cost_usd"])
    text = ask(project, report, ["demo"]).out
    assert "within" in text.split("estimated  ", 1)[1]


def test_an_estimate_that_was_missed_is_told(project: Project) -> None:
    project.pipeline(BASIC.replace('type = "number"', 'type = "string"').replace("minimum = 0\nmaximum = 1\n", ""))
    project.rows(numbered(60))
    project.faults({"requests": [{"output": {"label": "bug", "score": "x"}}]})
    project.run(limit=30)
    project.faults({"requests": [{"output": {"label": "bug", "score": "x" * 500}}]})
    project.run()
    missed, _ = reported(project)["estimates"]
    assert missed["within"] is False
    assert missed["actual_usd"] > missed["high_usd"]
    assert "missed" in ask(project, report, ["demo"]).out


def test_a_batch_of_an_older_version_has_no_interval(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    project.run()
    with duckdb.connect(str(project.root / "batchpipe.duckdb")) as connection:
        connection.execute(
            'UPDATE ledger.events SET data = json_merge_patch(data, \'{"low_usd": null, "high_usd": null}\') '
            "WHERE kind = 'chunk_prepared'"
        )
    found = reported(project)
    assert (found["estimate"]["within"], found["estimate"]["low_usd"]) == (None, None)
    assert found["estimate"]["expected_usd"] > 0
