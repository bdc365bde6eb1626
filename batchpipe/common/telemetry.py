"""Spans and metrics, through the OpenTelemetry API. Without a configured SDK they do nothing and cost nothing."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchpipe.common.logs import Event
from batchpipe.common.secrets import redacted

if TYPE_CHECKING:
    from opentelemetry.trace import Span

NAME = "batchpipe"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSpan:
    """A span that stays open over several calls: the span of a run, which advances in steps beside other runs."""

    span: Span

    @contextmanager
    def as_parent(self) -> Iterator[None]:
        """Make this span the parent of the spans that are begun in the block."""
        from opentelemetry import trace

        with trace.use_span(self.span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except BaseException as error:
                _record(self.span, error)
                raise

    def end(self) -> None:
        """End the span."""
        self.span.end()


def begin_span(name: str, pipeline: str) -> OpenSpan:
    """Begin the span `batchpipe.NAME` of a pipeline; the caller ends it."""
    from opentelemetry import trace

    attributes = {"batchpipe.pipeline": pipeline}
    return OpenSpan(span=trace.get_tracer(NAME).start_span(f"{NAME}.{name}", attributes=attributes))


@contextmanager
def span(name: str, pipeline: str, **attributes: str | int) -> Iterator[None]:
    """Record the block as the span `batchpipe.NAME`: its time, its attributes, and the error that ended it."""
    from opentelemetry import trace

    named = {f"batchpipe.{key}": value for key, value in attributes.items()}
    found = {"batchpipe.pipeline": pipeline, **named}
    tracer = trace.get_tracer(NAME)
    with tracer.start_as_current_span(
        f"{NAME}.{name}", attributes=found, record_exception=False, set_status_on_exception=False
    ) as open_span:
        try:
            yield
        except BaseException as error:
            _record(open_span, error)
            raise


def _record(open_span: Span, error: BaseException) -> None:
    """Record the error that ended a block, without the values of `${NAME}` and of keys.

    Source of the names: the semantic conventions of OpenTelemetry for exceptions.
    """
    from opentelemetry.trace import Status, StatusCode

    kind, message = type(error).__qualname__, redacted(str(error))
    trace = redacted("".join(traceback.format_exception(error)))
    attributes = {"exception.type": kind, "exception.message": message, "exception.stacktrace": trace}
    open_span.add_event("exception", attributes)
    open_span.set_status(Status(StatusCode.ERROR, f"{kind}: {message}"))


def count_event(pipeline: str, event: Event) -> None:
    """Add the numbers of `event` to the counters: requests submitted, rows accepted and failed, cost in US dollars."""
    if event.kind not in ("submitted", "submit_unknown", "collected"):
        return
    from opentelemetry import metrics

    meter = metrics.get_meter(NAME)
    attributes = {"batchpipe.pipeline": pipeline}
    if event.requests is not None:
        meter.create_counter("batchpipe.requests.submitted").add(event.requests, attributes)
    for word in ("accepted", "failed"):
        if word in event.rows:
            meter.create_counter(f"batchpipe.rows.{word}").add(event.rows[word], attributes)
    if event.cost_usd is not None:
        meter.create_counter("batchpipe.cost", unit="USD").add(float(event.cost_usd), attributes)
