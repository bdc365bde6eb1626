"""Tests of runs through the OpenAI protocol, end to end: the real engine, real HTTP, the emulator."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from projects import BASIC, Project, numbered

from batchpipe.engine.ledger.raw_folder import open_results

LADDER = BASIC.replace("claude-haiku-4-5", "openai:gpt-6-luna").replace("max_tokens = 200", "max_tokens = 2_000")
MIXED = BASIC.replace(
    "max_tokens = 200\n",
    'max_tokens = 200\naccept = "score >= 0.5"\n\n[[models]]\nmodel = "openai:gpt-6-luna"\nmax_tokens = 2_000\n',
)
# US dollars per million tokens of gpt-6-luna in a batch: uncached, written for 30 minutes, for 12 hours, read, output.
BATCH_USD = tuple(map(Decimal, ("0.05", "0.0625", "0.1", "0.005", "0.25")))
# A system prompt that is long enough for the cache: more than 1,024 tokens of 4 characters.
LONG = "You sort the rows of a shop. " * 200


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
    usage = line["response"]["body"]["usage"]
    details = usage["input_tokens_details"]
    written = details.get("cache_write_tokens_details") or {"ttl_30m_tokens": 0, "ttl_12h_tokens": 0}
    short, long = written["ttl_30m_tokens"], written["ttl_12h_tokens"]
    assert short + long == details["cache_write_tokens"]
    uncached = usage["input_tokens"] - details["cached_tokens"] - short - long
    tokens = (uncached, short, long, details["cached_tokens"], usage["output_tokens"])
    return sum((price * count for price, count in zip(BATCH_USD, tokens, strict=True)), Decimal(0)) / 1_000_000


def paid_by_request(project: Project) -> Counter[str]:
    """Return how many answers were made for each request, over all batches of the service."""
    batches = project.log()["batches"].values()
    return Counter(
        each["params_md5"] for batch in batches for each in batch["requests"] if each["result"] == "succeeded"
    )


def test_a_table_goes_through_and_the_second_run_sends_nothing(project: Project) -> None:
    project.pipeline(LADDER.replace("[prompt]", f'[prompt]\ncache = "1h"\nsystem_text = """{LONG}"""'))
    project.rows(numbered(8))
    first = project.run()
    assert (first.status, first.submitted, first.rows["accepted"]) == ("done", 8, 8)
    assert project.run().submitted == 0
    # The cache that the first batch filled serves the second one.
    project.rows(numbered(16))
    second = project.run()
    assert (second.submitted, second.rows["accepted"]) == (8, 16)
    lines = result_lines(project)
    assert sum(line["response"]["body"]["usage"]["input_tokens_details"]["cached_tokens"] for line in lines) > 0
    expected = {line["custom_id"]: by_hand(line) for line in lines}
    found = dict(project.sql("SELECT custom_id, cost_usd FROM ledger.results"))
    assert {key: Decimal(cost) for key, cost in found.items()} == expected
    assert sum(expected.values()) == first.cost_usd + second.cost_usd
    assert (first.realtime_usd or 0) == 2 * first.cost_usd
    thinking = sum(line["response"]["body"]["usage"]["output_tokens_details"]["reasoning_tokens"] for line in lines)
    assert project.sql("SELECT sum(thinking_tokens), any_value(provider), any_value(model) FROM ledger.results") == [
        (thinking, "openai", "gpt-6-luna")
    ]
    # Inputs are deleted once their batch has ended.
    calls = [f"{call['method']} {call['path']}" for call in project.log()["calls"]]
    assert len([call for call in calls if call.startswith("DELETE /v1/files/")]) == first.batches + second.batches
    assert not [text for text in project.said if "discount" in text]


def test_nothing_is_lost_and_nothing_paid_twice_whatever_goes_wrong(project: Project) -> None:
    project.pipeline(LADDER + "\n[chunking]\nmax_requests = 4\n")
    project.rows(numbered(20))
    project.faults(
        {
            "validating_seconds": 0.1,
            "calls": [
                {"call": "upload", "fault": "status:503"},
                {"call": "upload", "fault": "reset", "after": 1},
                {"call": "create", "fault": "accepted_then_status:500"},
                {"call": "create", "fault": "landed_later", "seconds": 0.2},
                {"call": "create", "fault": "fails_late", "error_code": "token_limit_exceeded", "message": "queue"},
                {"call": "create", "fault": "counts_lie"},
                {"call": "create", "fault": "output_late", "seconds": 0.3},
                {"call": "create", "fault": "status:429"},
                {"call": "retrieve", "fault": "html"},
                {"call": "list", "fault": "list_lag", "seconds": 0.2},
                {"call": "results", "fault": "results_cut_length"},
                {"call": "results", "fault": "results_cut_line_end", "after": 1},
            ],
            "requests": [
                {"outcome": "errored_overloaded", "match": "text number 3", "times": 1},
                {"outcome": "status_0", "match": "text number 4", "times": 1},
                {"outcome": "failed_body", "match": "text number 5", "times": 1},
                {"outcome": "commentary", "match": "text number 6"},
            ],
        }
    )
    result = project.run()
    assert (result.status, result.rows["accepted"], result.rows["failed"]) == ("done", 20, 0)
    answered = project.sql("SELECT count(*), count(DISTINCT custom_id) FROM ledger.results WHERE outcome = 'answered'")
    assert answered == [(20, 20)]
    assert project.run().submitted == 0
    lines = [line for line in result_lines(project) if (line["response"]["body"] or {}).get("usage")]
    assert sum(map(by_hand, lines)) == sum(Decimal(cost) for (cost,) in project.sql(COSTS))


def test_answers_are_collected_although_the_error_file_never_comes(project: Project) -> None:
    project.settings["reconcile_wait"] = 0.1
    project.pipeline(LADDER)
    project.rows(numbered(4))
    gone = {"call": "retrieve", "fault": "changed", "changes": {"error_file_id": "file-not-there"}, "times": 9999}
    project.faults({"calls": [gone]})
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 4, 4)


def test_what_a_full_queue_refused_late_was_not_sent_and_does_not_use_up_a_limit(project: Project) -> None:
    project.pipeline(LADDER + "\n[chunking]\nmax_requests = 2\n")
    project.rows(numbered(10))
    full = {
        "call": "create",
        "fault": "fails_late",
        "error_code": "token_limit_exceeded",
        "message": "queue",
        "times": 2,
    }
    project.faults({"calls": [full]})
    result = project.run(limit=6)
    assert (result.rows["accepted"], result.submitted) == (6, 6)
    assert result.batches == project.sql("SELECT count(DISTINCT batch_id) FROM ledger.results")[0][0]


COSTS = "SELECT cost_usd FROM ledger.results WHERE cost_usd IS NOT NULL"


def test_a_line_at_fault_is_found_and_an_optional_field_may_be_left_out(project: Project) -> None:
    text = LADDER.replace("[output.fields.label]", '[output]\nformat = "tool"\n[output.fields.label]')
    project.pipeline(text.replace('"other"]', '"other"]\n[output.fields.note]\ntype = "string"\noptional = true'))
    project.rows(numbered(6))
    late = {
        "call": "create",
        "fault": "fails_late",
        "error_code": "invalid_json_line",
        "message": "not JSON",
        "line": 2,
    }
    refused = {"match": "text number 2", "outcome": "refused"}
    cut_off = {"match": "text number 3", "outcome": "truncated", "times": 1}
    project.faults({"requests": [refused, cut_off], "calls": [late]})
    result = project.run()
    assert (result.rows["accepted"], result.rows["failed"]) == (5, 1)
    notes = [note for (note,) in project.sql("SELECT note FROM demo WHERE id <> 2")]
    assert None in notes
    (error,) = project.sql("SELECT error FROM ledger.row_state WHERE state = 'failed'")[0]
    assert "cannot help" in error
    outputs = [
        json.loads(each) for (each,) in project.sql("SELECT output FROM ledger.results WHERE output IS NOT NULL")
    ]
    assert all(each.get("note", "") is not None for each in outputs)


def test_a_ladder_climbs_from_one_protocol_to_another(project: Project) -> None:
    """With faults of both; the models are changed while batches are in flight."""
    project.pipeline(MIXED + "\n[chunking]\nmax_requests = 4\n")
    project.rows(numbered(12))
    project.faults(
        {
            "requests": [{"outcome": "output", "model": "claude-haiku-4-5", "output": {"label": "bug", "score": 0.1}}],
            "calls": [
                {"call": "create", "fault": "accepted_then_reset", "protocol": "anthropic"},
                {"call": "create", "fault": "accepted_then_html", "protocol": "openai"},
                {"call": "results", "fault": "status:500", "protocol": "openai"},
                {"call": "retrieve", "fault": "reset", "protocol": "anthropic"},
            ],
        }
    )
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 12, 24)
    assert project.sql("SELECT provider, model, rung, count(*) FROM ledger.requests GROUP BY ALL ORDER BY rung") == [
        ("anthropic", "claude-haiku-4-5", 1, 12),
        ("openai", "gpt-6-luna", 2, 12),
    ]
    paid = paid_by_request(project)
    assert (len(paid), set(paid.values())) == (24, {1})
    assert project.run().submitted == 0


def test_batches_are_collected_by_who_has_them(project: Project) -> None:
    """The file names another provider's model by then."""
    project.pipeline(LADDER)
    project.rows(numbered(4))
    project.faults({"delay_seconds": 3600})
    waiting = project.run(no_wait=True)
    assert (waiting.status, waiting.submitted) == ("pending", 4)
    project.pipeline(BASIC)
    project.control("clock", {"advance_seconds": 3700})
    result = project.run()
    assert result.rows["accepted"] == 4
    assert project.sql("SELECT DISTINCT provider FROM ledger.results") == [("openai",)]
    assert len(paid_by_request(project)) == 4
