"""Show a run to a person: a live view on a terminal, else a line for each event.

The provider reports nothing before a batch has ended. So the view shows ages and counts, which are known, and no
progress bar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol, TextIO

from batchpipe.commands.printing.text import count, duration, money, safe
from batchpipe.common.logs import Event, json_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

SHOWN_BATCHES = 8
REFRESHES_PER_SECOND = 4
ROW_WORDS = ("accepted", "review", "kept", "failed", "pending", "retry", "escalated")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """An open chunk as it is shown. `name` is the provider's batch id where there is one."""

    name: str
    state: str
    model: str
    requests: int
    since: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One pipeline of a run as it is shown. `rows` are counts by state, `step` is what the run is doing."""

    pipeline: str
    step: str
    input: int | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    batches: Sequence[BatchView] = ()
    cost_usd: Decimal | None = None


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
    """A display that writes a line for each event, and shows no views."""

    write: Callable[[str], None]
    clock: Callable[[], datetime]
    log_format: str = "text"

    def tell(self, pipeline: str, event: Event) -> None:
        """Write a line for the event."""
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
            self.console.print(Text(event_line(self.clock(), pipeline, event)), soft_wrap=True)

    def show(self, views: Sequence[RunView], now: datetime) -> None:
        """Draw the pipelines anew."""
        self.live.update(view(views, now), refresh=True)

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

    console = Console(file=stream)
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


def view(views: Sequence[RunView], now: datetime) -> RenderableType:
    """Return all pipelines, one below the other."""
    from rich.console import Group

    return Group(*(_one(each, now) for each in views))


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
    age = duration((now - batch.since).total_seconds())
    left = ""
    if batch.expires_at is not None:
        left = f", expires in {duration((batch.expires_at - now).total_seconds())}"
    requests = count(batch.requests, "request")
    return f"{safe(batch.name)}  {batch.state}  {requests}  {safe(batch.model)}  {age} old{left}"


def _one(found: RunView, now: datetime) -> RenderableType:
    """Return one pipeline as it is shown: its step and cost, its rows, its batches."""
    from rich.console import Group
    from rich.text import Text

    total = f" of {count(found.input, 'row')}" if found.input is not None else ""
    spent = f", {money(found.cost_usd)} spent in this run" if found.cost_usd is not None else ""
    title = Text(safe(found.pipeline), style="bold")
    title.append(f"  {found.step}{spent}", style="not bold")
    lines = [title]
    if found.rows and (states := rows_line(found.rows)):
        lines.append(Text(f"  {states}{total}"))
    lines += [Text(f"  {batch_line(each, now)}", style="dim") for each in found.batches[:SHOWN_BATCHES]]
    if len(found.batches) > SHOWN_BATCHES:
        lines.append(Text(f"  and {len(found.batches) - SHOWN_BATCHES:,} more batches", style="dim"))
    return Group(*lines)
