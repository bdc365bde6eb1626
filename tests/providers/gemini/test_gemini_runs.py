"""Tests of runs through Gemini, end to end: the real engine, real HTTP, the emulator."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from projects import BASIC, Project, numbered

from batchpipe.engine.ledger.raw_folder import open_results

LADDER = BASIC.replace("claude-haiku-4-5", "gemini:gemini-3.8-flash")
# US dollars per million tokens in a batch: uncached input, cached input, output with thinking. From 2027 on twice that.
BATCH_USD = (Decimal("0.375"), Decimal("0.0375"), Decimal("1.875"))
# A system prompt that is long enough for the cache: more than 4,096 tokens of 4 characters.
LONG = "You sort the rows of a shop. " * 600


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    found = Project(tmp_path)
    yield found
    found.close()


def result_lines(project: Project) -> list[dict[str, Any]]:
    """Return the lines of all saved results."""
    lines = []
    for path in (project.root / ".batchpipe").rglob("raw/**/*.jsonl*"):
        with open_results(path) as file:
            lines += [json.loads(line) for line in file.read().splitlines()]
    return [line for line in lines if "response" in line]


def by_hand(line: dict[str, Any]) -> Decimal:
    """Return what a line of results costs, from the service's own counts and the prices above."""
    usage = line["response"]["usageMetadata"]
    cached = usage.get("cachedContentTokenCount", 0)
    written = usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
    tokens = (usage["promptTokenCount"] - cached, cached, written)
    factor = 1 if date.today() < date(2027, 1, 1) else 2  # noqa: DTZ011
    return factor * sum((price * count for price, count in zip(BATCH_USD, tokens, strict=True)), Decimal(0)) / 1_000_000


def test_a_table_goes_through_gemini_and_the_second_run_sends_nothing(project: Project) -> None:
    project.pipeline(LADDER.replace("[prompt]", f'[prompt]\nsystem_text = """{LONG}"""'))
    project.rows(numbered(8))
    first = project.run()
    assert (first.status, first.submitted, first.rows["accepted"]) == ("done", 8, 8)
    assert project.run().submitted == 0
    # The cache that the first batch filled serves the second one.
    project.rows(numbered(16))
    second = project.run()
    assert (second.submitted, second.rows["accepted"]) == (8, 16)
    assert (first.tokens["cache_read"], second.tokens["cache_read"] > 0) == (0, True)
    assert (first.batches, second.batches) == (1, 1)  # no request is sent ahead to fill a cache that works by itself
    lines = result_lines(project)
    expected = {line["key"]: by_hand(line) for line in lines}
    found = dict(project.sql("SELECT custom_id, cost_usd FROM ledger.results"))
    assert {key: Decimal(cost) for key, cost in found.items()} == expected
    assert sum(expected.values()) == first.cost_usd + second.cost_usd
    assert (first.realtime_usd or 0) == 2 * first.cost_usd
    thinking = sum(line["response"]["usageMetadata"].get("thoughtsTokenCount", 0) for line in lines)
    assert project.sql("SELECT sum(thinking_tokens), any_value(provider), any_value(model) FROM ledger.results") == [
        (thinking, "gemini", "gemini-3.8-flash")
    ]
    # Inputs are deleted once their batch has ended.
    calls = [f"{call['method']} {call['path']}" for call in project.log()["calls"]]
    assert len([call for call in calls if call.startswith("DELETE /v1beta/files/")]) == first.batches + second.batches


def paid_by_row(project: Project) -> Counter[str]:
    """Return how many answers were made for each request, over all batches of the service."""
    batches = project.log()["batches"].values()
    return Counter(
        each["params_md5"] for batch in batches for each in batch["requests"] if each["result"] == "succeeded"
    )


def test_nothing_is_lost_and_nothing_paid_twice_whatever_goes_wrong(project: Project) -> None:
    project.pipeline(LADDER + "\n[chunking]\nmax_requests = 4\n")
    project.rows(numbered(20))
    project.faults(
        {
            "calls": [
                {"call": "upload", "fault": "status:503"},
                {"call": "create", "fault": "accepted_then_status:500"},
                {"call": "create", "fault": "landed_later", "seconds": 0.2},
                {"call": "create", "fault": "fails_late", "error_code": "RESOURCE_EXHAUSTED", "message": "queue"},
                {"call": "create", "fault": "partial"},
                {"call": "create", "fault": "output_late", "seconds": 0.2},
                {"call": "create", "fault": "status:429"},
                {"call": "retrieve", "fault": "html"},
                {"call": "list", "fault": "list_lag", "seconds": 0.2},
                {"call": "results", "fault": "results_cut_length"},
            ],
        }
    )
    result = project.run()
    assert (result.status, result.rows["accepted"], result.rows["failed"]) == ("done", 20, 0)
    paid = paid_by_row(project)
    assert (len(paid), set(paid.values())) == (20, {1})
    assert project.run().submitted == 0


def test_a_forced_function_call_a_refusal_and_a_batch_that_is_refused_late(project: Project) -> None:
    text = LADDER.replace("[output.fields.label]", '[output]\nformat = "tool"\n[output.fields.label]')
    project.pipeline(text.replace('"other"]', '"other"]\n[output.fields.note]\ntype = "string"\noptional = true'))
    project.rows(numbered(6))
    refused = {"match": "text number 2", "outcome": "refused"}
    cut_off = {"match": "text number 3", "outcome": "truncated", "times": 1}
    late = {"call": "create", "fault": "fails_late", "error_code": "INVALID_ARGUMENT", "message": "Wrong in line 2"}
    project.faults({"requests": [refused, cut_off], "calls": [late]})
    result = project.run()
    assert (result.rows["accepted"], result.rows["failed"]) == (5, 1)
    (error,) = project.sql("SELECT error FROM ledger.row_state WHERE state = 'failed'")[0]
    assert "blocked" in error


def test_a_text_that_ends_for_another_reason_is_judged_and_not_bought_again(project: Project) -> None:
    """Each was paid for. A valid answer counts; of a plain text nobody knows whether it is whole: once more."""
    project.rows(numbered(3))
    project.faults(
        {"calls": [{"call": "results", "fault": "results_edited", "edits": [['"STOP"', '"OTHER"']], "times": 9}]}
    )
    project.pipeline(LADDER)
    result = project.run()
    assert (result.rows["accepted"], result.batches, set(paid_by_row(project).values())) == (3, 1, {1})
    assert any("a text that ended with the finishReason `OTHER`" in each for each in project.said)
    fields = LADDER[LADDER.index("[output.fields.label]") : LADDER.index("[[models]]")]
    project.pipeline(LADDER.replace(fields, '[output]\nformat = "text"\n\n'), "words")
    result = project.run("words")
    assert (result.rows["failed"], result.batches) == (3, 2)


def test_results_that_are_gone_before_they_are_read_again_count_as_far_as_they_were_kept(project: Project) -> None:
    project.pipeline(LADDER)
    project.rows(numbered(4))
    gone = {"call": "results", "fault": "status:403", "after": 1, "times": 1}
    project.faults({"calls": [{"call": "results", "fault": "bad_json_line", "times": 1}, gone]})
    result = project.run()
    # The damaged line was never received, and is asked for again; the key that read the batch is not called wrong.
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 4, 5)


def test_a_file_of_results_that_is_not_there_any_more_is_no_wrong_key(project: Project) -> None:
    project.pipeline(LADDER)
    project.rows(numbered(2))
    project.run(no_wait=True)
    project.control("clock", {"advance_seconds": 30 * 86_400})
    project.faults({"calls": [{"call": "results", "fault": "status:403", "times": 5}]})
    result = project.run()
    assert (result.status, result.error) == ("done", None)
    assert project.sql("SELECT count(*) FROM ledger.events WHERE kind = 'batch_gone'") == [(1,)]
