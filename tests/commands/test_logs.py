"""Tests of events: the sentence, the line of JSON, the spans and the counters say the same, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from calls import spawn
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from projects import BASIC, Project, numbered

from batchpipe.common.logs import SENTENCES, Event, json_line

NOW = datetime.fromisoformat("2026-07-01 12:30:05.123456")
TEXTS = [
    (Event(kind="submitted", requests=1), "submitted 1 request"),
    (Event(kind="submitted", requests=1200), "submitted 1,200 requests"),
    (
        Event(kind="submit_unknown", requests=2, detail="HTTP 500"),
        "submitted 2 requests, but the outcome is unknown (HTTP 500); they are not sent again until it is known",
    ),
    (
        Event(kind="chunk_refused", requests=50, detail="too large"),
        "the provider refused a batch (too large); trying a smaller one of 50 requests",
    ),
    (Event(kind="request_refused", detail="too large"), "the provider refused a request: too large"),
    (
        Event(kind="collected", batch_id="b1", rows={"failed": 1, "accepted": 1000, "canceled": 0}),
        "collected b1: 1,000 accepted, 1 failed",
    ),
    (Event(kind="collected", batch_id="b1"), "collected b1: nothing new"),
    (Event(kind="warning", detail="it is late"), "warning: it is late"),
    (Event(kind="warning", detail="it is late", batch_id="b1"), "warning: it is late (b1)"),
    (Event(kind="unavailable", detail="HTTP 503"), "the provider did not answer (HTTP 503); trying again"),
    (Event(kind="run_started"), ""),
]


@pytest.mark.parametrize(("event", "text"), TEXTS)
def test_an_event_is_one_sentence_in_both_formats(event: Event, text: str) -> None:
    assert str(event) == text
    line = json.loads(json_line(NOW, "demo", event))
    assert line.get("message", "") == text
    assert line["event"] == event.kind


def test_every_kind_has_a_sentence() -> None:
    for kind in SENTENCES:
        assert isinstance(str(Event(kind=kind)), str)


def test_a_line_holds_what_is_known_and_nothing_else() -> None:
    event = Event(
        kind="collected",
        run_id="r1",
        batch_id="b1",
        rows={"accepted": 3, "due again": 2},
        cost_usd=Decimal("0.000001250000000"),
    )
    assert json.loads(json_line(NOW, "demo", event)) == {
        "time": "2026-07-01T12:30:05.123Z",
        "level": "info",
        "event": "collected",
        "pipeline": "demo",
        "run_id": "r1",
        "batch_id": "b1",
        "rows": {"accepted": 3, "due_again": 2},
        "cost_usd": "0.000001250000000",
        "message": "collected b1: 3 accepted, 2 due again",
    }
    evil = Event(kind="warning", detail="a\nb\x1b[2J\u2028c")
    assert "\n" not in json_line(NOW, "", evil)
    assert json_line(NOW, "", evil).isascii()


def lines(talk: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in talk.splitlines()]


def test_a_run_tells_a_log_store_one_event_per_line(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(6))
    project.faults({"requests": [{"match": "number 3", "outcome": "errored_api", "times": 1}]})
    running = spawn(project, "run", "demo", "--log-format", "json", "--json")
    out, talk = running.communicate(timeout=60)
    assert running.returncode == 0, talk
    result, events = json.loads(out), lines(talk)
    kinds = [each["event"] for each in events]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_ended"
    assert kinds.count("submitted") == kinds.count("collected") == 2
    assert {each["run_id"] for each in events} == {result["run_id"]}
    assert {each["pipeline"] for each in events} == {"demo"}
    assert sum(each["requests"] for each in events if each["event"] == "submitted") == 7
    collected = [each for each in events if each["event"] == "collected"]
    assert {each["batch_id"] for each in collected} == set(project.log()["batches"])
    ended = events[-1]
    assert ended["rows"]["accepted"] == 6
    assert Decimal(ended["cost_usd"]) == sum(Decimal(each["cost_usd"]) for each in collected)


def test_errors_are_lines_with_their_code(project: Project) -> None:
    project.settings["log_format"] = "json"
    project.pipeline()
    project.rows(numbered(3))
    project.faults({"calls": [{"call": "create", "fault": "status:401", "times": 9}]})
    running = spawn(project, "run", "demo")
    _, talk = running.communicate(timeout=60)
    assert running.returncode == 3
    events = lines(talk)
    errors = [each for each in events if each["level"] == "error"]
    assert {each["error_code"] for each in errors} == {"provider"}
    assert {each["event"] for each in errors} == {"run_ended", "error"}
    running = spawn(project, "run", "nothing")
    _, talk = running.communicate(timeout=60)
    assert [(each["event"], each["error_code"]) for each in lines(talk)] == [("error", "usage")]


def test_an_unknown_format_is_told(project: Project) -> None:
    running = spawn(project, "status", "--log-format", "xml")
    _, talk = running.communicate(timeout=60)
    assert running.returncode == 2
    assert "log_format" in talk


@pytest.fixture(scope="module")
def exporter() -> Iterator[InMemorySpanExporter]:
    """Return the exporter of this process's spans, which can be set only once."""
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    trace.set_tracer_provider(provider)
    yield found
    provider.shutdown()


@pytest.fixture(scope="module")
def reader() -> Iterator[InMemoryMetricReader]:
    """Return the reader of this process's counters, which can be set only once."""
    found = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[found])
    metrics.set_meter_provider(provider)
    yield found
    provider.shutdown()


def test_a_run_is_a_span_with_its_steps(project: Project, exporter: InMemorySpanExporter) -> None:
    exporter.clear()
    project.pipeline(BASIC + "[chunking]\nmax_requests = 4\n")
    project.rows(numbered(7))
    project.run()
    spans = exporter.get_finished_spans()
    (run,) = [each for each in spans if each.name == "batchpipe.run"]
    steps = [each for each in spans if each is not run]
    assert {each.name for each in steps} == {"batchpipe.submit", "batchpipe.poll", "batchpipe.collect"}
    assert {_parent(each) for each in steps} == {run.context.span_id if run.context else None}
    for each in spans:
        assert each.attributes is not None
        assert each.attributes["batchpipe.pipeline"] == "demo"
    submits = [each for each in steps if each.name == "batchpipe.submit"]
    assert sum(int(str((each.attributes or {})["batchpipe.requests"])) for each in submits) >= 7
    collects = [each for each in steps if each.name == "batchpipe.collect"]
    collected = ",".join(str((each.attributes or {})["batchpipe.batch_id"]) for each in collects)
    assert set(collected.split(",")) == set(project.log()["batches"])


def _parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def test_a_failed_run_is_a_span_with_its_error(project: Project, exporter: InMemorySpanExporter) -> None:
    exporter.clear()
    project.pipeline()
    project.rows(numbered(2))
    project.faults({"calls": [{"call": "create", "fault": "status:401", "times": 9}]})
    project.outcomes()
    (run,) = [each for each in exporter.get_finished_spans() if each.name == "batchpipe.run"]
    assert not run.status.is_ok
    assert [each.name for each in run.events] == ["exception"]


def test_counters_add_up_to_what_the_ledger_says(project: Project, reader: InMemoryMetricReader) -> None:
    project.pipeline()
    project.rows(numbered(9))
    project.faults({"requests": [{"match": "number 3", "outcome": "errored_invalid"}]})
    before = counters(reader)
    project.run()
    found = counters(reader)
    grown = {name: value - before.get(name, 0) for name, value in found.items()}
    assert grown["batchpipe.requests.submitted"] == 9
    assert grown["batchpipe.rows.accepted"] == 8
    assert grown["batchpipe.rows.failed"] == 1
    ((cost,),) = project.sql("SELECT sum(cost_usd)::DOUBLE FROM ledger.results")
    assert grown["batchpipe.cost"] == pytest.approx(cost)


def counters(reader: InMemoryMetricReader) -> dict[str, float]:
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        metric.name: sum(getattr(point, "value", 0) for point in metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
