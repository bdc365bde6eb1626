"""Show a run to a person: a live view on a terminal, else a line for each event.

The view shows what is known: phases and counts of our own, ages, and what the provider counts of a batch. It invents no
progress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, Protocol, TextIO, cast

from batchpipe.commands.call.streams import Messages
from batchpipe.commands.printing.text import count, duration, money, safe, wrapped
from batchpipe.common.logs import Event, json_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

SHOWN_BATCHES = 8
ROW_WORDS = ("accepted", "review", "kept", "failed", "pending", "retry", "escalated")
COLOURS = {"error": "red", "warning": "yellow", "info": ""}
ALWAYS_SAID = ("warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """An open chunk as it is shown. `name` is the provider's batch id where there is one.

    `done` requests are through, as far as the provider says so before the batch has ended.
    """

    name: str
    state: str
    model: str
    requests: int
    since: datetime
    expires_at: datetime | None
    done: int = 0


class LimitView(NamedTuple):
    """The limit that has the least left: its name, what was spent of it, and what is allowed, in US dollars."""

    name: str
    spent_usd: Decimal
    allowed_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One pipeline of a run as it is shown. `rows` are counts by state, `step` is what the run is doing.

    `left_seconds` is how long the rest takes by `batches_before` earlier batches. `waits` says what waits for room in
    which budget.
    """

    pipeline: str
    step: str
    input: int | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    batches: Sequence[BatchView] = ()
    cost_usd: Decimal | None = None
    limit: LimitView | None = None
    waits: str | None = None
    elapsed_seconds: float = 0.0
    left_seconds: float | None = None
    batches_before: int = 0


class Display(Protocol):
    """The receiver of a run's events and views."""

    def tell(self, pipeline: str, event: Event) -> None:
        """Show an event."""
        ...

    def show(self, views: Sequence[RunView], now: datetime) -> None:
        """Show the present state of the pipelines."""
        ...

    def asking(self) -> AbstractContextManager[None]:
        """Hold back all output while a person is asked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """A display that writes a line for each event, and shows no views. With `quiet` only what is wrong is written."""

    write: Callable[[str], None]
    clock: Callable[[], datetime]
    log_format: str = "text"
    quiet: bool = False

    def tell(self, pipeline: str, event: Event) -> None:
        """Write a line for the event."""
        if self.quiet and event.level not in ALWAYS_SAID:
            return
        if self.log_format == "json":
            self.write(json_line(self.clock(), pipeline, event))
        elif str(event):
            self.write(event_line(self.clock(), pipeline, event))

    def show(self, views: Sequence[RunView], now: datetime) -> None:
        """Show nothing."""
        return

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Hold nothing back: no person is asked."""
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveView:
    """A display at the bottom of the terminal, with the events above it."""

    live: Live
    console: Console
    clock: Callable[[], datetime]

    def tell(self, pipeline: str, event: Event) -> None:
        """Print a line for the event above the view."""
        from rich.text import Text

        if str(event):
            line = wrapped(event_line(self.clock(), pipeline, event), self.console.width)
            self.console.print(Text(line, style=COLOURS[event.level]), soft_wrap=True)

    def show(self, views: Sequence[RunView], now: datetime) -> None:
        """Draw the pipelines anew."""
        self.live.update(view(views, now, self.console.width, self.console.height), refresh=True)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Take the view away while a person is asked."""
        self.live.stop()
        try:
            yield
        finally:
            self.live.start()


@contextmanager
def live_view(stream: TextIO, clock: Callable[[], datetime]) -> Iterator[LiveView]:
    """Open a live view on `stream`, a terminal. At the end it is wiped, and the events stay."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=cast(TextIO, Messages(stream)))
    live = Live(
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        vertical_overflow="crop",
    )
    with live:
        yield LiveView(live=live, console=console, clock=clock)


def event_line(now: datetime, pipeline: str, event: Event) -> str:
    """Return one event as one line for people."""
    name = f"{pipeline}: " if pipeline else ""
    return f"{now:%H:%M:%S} {name}{safe(event)}"


def view(views: Sequence[RunView], now: datetime, width: int = 120, height: int | None = None) -> RenderableType:
    """Return all pipelines, one below the other, for a terminal of `width` columns and `height` lines."""
    from rich.console import Group
    from rich.text import Text

    shown = []
    for line, style in fitting_lines(views, now, width, height):
        text = Text(line, style=style, no_wrap=True, overflow="crop")
        if style == "bold":
            text.stylize("not bold", len(line.split("  ", 1)[0]))
        text.highlight_regex(r"[\d,]+ failed", "red")
        shown.append(text)
    return Group(*shown)


def fitting_lines(views: Sequence[RunView], now: datetime, width: int, height: int | None) -> list[tuple[str, str]]:
    """Return the lines of all pipelines that fit into `height` lines, less the one of the cursor.

    Where there are too many, fewer batches are shown, then no line but the first of each pipeline, and how many more
    pipelines there are.
    """
    lines: list[tuple[str, str]] = []
    for batches in (SHOWN_BATCHES, 3, 1, 0):
        lines = view_lines(views, now, width, batches)
        if height is None or len(lines) < height:
            return lines
    assert height is not None
    heads = [lines for each in views for lines in view_lines([each], now, width, 0)[:1]]
    shown = max(height - 2, 1)
    more = [(f"and {len(heads) - shown:,} more pipelines", "dim")] if len(heads) > shown else []
    return [*heads[:shown], *more]


def view_lines(
    views: Sequence[RunView], now: datetime, width: int, batches: int = SHOWN_BATCHES
) -> list[tuple[str, str]]:
    """Return the lines of all pipelines, each with its style; whole words, what is broken hangs under its beginning.
    A word that is longer than a line goes on in the next one.

    At most so many `batches` of each are listed.
    """
    return [
        (part[begin : begin + width], style)
        for each in views
        for line, style in _lines(each, now, batches, width)
        for part in wrapped(line, width).split("\n")
        for begin in range(0, max(len(part), 1), max(width, 1))
    ]


def rows_line(rows: Mapping[str, int]) -> str:
    """Return the rows by state; empty where nothing is known yet.

    Example: `1,000 accepted (12 for review), 3 failed, 20 pending`.
    """
    parts = []
    for word in ROW_WORDS:
        number = rows.get(word, 0)
        if number and word != "review":
            review = f" ({rows['review']:,} for review)" if word == "accepted" and rows.get("review") else ""
            parts.append(f"{number:,} {word}{review}")
    return ", ".join(parts)


def batch_line(batch: BatchView, now: datetime) -> str:
    """Return a batch in one line.

    Example: `msgbatch_x  in_flight  59 requests  claude-haiku-4-5  2 min 3 s old, expires in 23 h 57 min`.
    """
    left = ""
    if batch.expires_at is not None:
        left = f", expires in {duration((batch.expires_at - now).total_seconds())}"
    return f"{safe(batch.name)}  {batch.state}  {_requests(batch)}  {safe(batch.model)}  {_age(batch, now)}{left}"


def _lines(found: RunView, now: datetime, batches: int, width: int) -> Iterator[tuple[str, str]]:
    """Yield the lines of one pipeline, unbroken: its step and cost, its rows, its time, its money, its batches."""
    spent = f", {money(found.cost_usd)} spent in this run" if found.cost_usd is not None else ""
    yield f"{safe(found.pipeline)}  {found.step}{spent}", "bold"
    if found.rows and (states := rows_line(found.rows)):
        total = f" of {count(found.input, 'row')}" if found.input is not None else ""
        yield f"  {states}{total}", ""
    if found.elapsed_seconds >= 1 or found.left_seconds is not None:
        yield f"  {_time_line(found)}", ""
    if found.limit is not None:
        name, paid, allowed = found.limit
        yield f"  {money(paid)} of {money(allowed)} spent ({name})", ""
    if found.waits is not None:
        yield f"  waiting: {safe(found.waits)}", "yellow"
    for line in _batch_lines(found.batches[:batches], now, width):
        yield f"  {line}", "dim"
    if batches and len(found.batches) > batches:
        yield f"  and {count(len(found.batches) - batches, 'more batch', 'more batches')}", "dim"


def _batch_lines(batches: Sequence[BatchView], now: datetime, width: int) -> Sequence[str]:
    """Return a line for each batch. Where one is too long for the screen, all are short, and what they share is said
    once.
    """
    lines = [batch_line(each, now) for each in batches]
    if all(len(line) + 2 <= width for line in lines):
        return lines
    same = len({(each.model, each.state) for each in batches}) == 1
    short = [
        (safe(each.name), _requests(each), *(() if same else (each.state, safe(each.model))), _age(each, now))
        for each in batches
    ]
    widths = [max(len(row[place]) for row in short) for place in range(len(short[0]))]
    lines = ["  ".join(f"{part:<{wide}}" for part, wide in zip(row, widths, strict=True)).rstrip() for row in short]
    shared = [f"{batches[0].state}  {safe(batches[0].model)}"] if same else []
    ends = [each.expires_at for each in batches if each.expires_at is not None]
    shared += [f"the first expires in {duration((min(ends) - now).total_seconds())}"] if ends else []
    return [*lines, "  ".join(shared)] if shared else lines


def _requests(batch: BatchView) -> str:
    """Return the requests of a batch, and how many are done where the provider says so."""
    requests = count(batch.requests, "request")
    return f"{count(batch.done)} of {requests} done" if batch.done else requests


def _age(batch: BatchView, now: datetime) -> str:
    return f"{duration((now - batch.since).total_seconds())} old"


def _time_line(found: RunView) -> str:
    """Return how long the run has gone on, and how long the rest is expected to take."""
    so_far = f"{duration(found.elapsed_seconds)} so far"
    if found.left_seconds is None:
        return so_far
    by = f"estimated from {count(found.batches_before, 'earlier batch', 'earlier batches')}"
    left = f"about {duration(found.left_seconds)} left" if found.left_seconds >= 1 else "expected to end now"
    return f"{so_far}, {left}, {by}"
