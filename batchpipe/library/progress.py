"""Show a run to the person at a notebook or a terminal, and log its events."""

from __future__ import annotations

import html
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import Any

from batchpipe.commands.run.display import Display, RunView, live_view, view_lines
from batchpipe.commands.run.views import PICTURE_SECONDS, RunViews
from batchpipe.common.logs import Event
from batchpipe.common.progress import Counted, Progress
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.library.logger import log_event

WIDTH = 100


@dataclass(slots=True, kw_only=True)
class Observer:
    """The link from a run to its display, which may be None, and to the log.

    `stop` ends the run as an interrupt does.
    """

    display: Display | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    _views: RunViews = field(default_factory=RunViews, init=False)
    _runs: Sequence[PipelineRun] = field(default=(), init=False)
    _shown_at: float = field(default=0.0, init=False)

    def tell(self, pipeline: str, event: Event) -> None:
        """Log an event, and note that the pipeline's counts are out of date."""
        self._views.of(pipeline).stale = True
        if self.display is not None:
            self.display.tell(pipeline, event)
        log_event(pipeline, event)

    def watch(self, pipeline: str, progress: Progress) -> None:
        """Take in what a run does now, and show it, a few times a second at most."""
        self._views.take(pipeline, progress)
        late = time.monotonic() - self._shown_at >= PICTURE_SECONDS
        if late and self._runs and not isinstance(progress, Counted):
            self._draw(reads=False)

    def show(self, runs: Sequence[PipelineRun]) -> None:
        """Show the present state; a run calls this about once a second.

        Raises KeyboardInterrupt where the run is to stop.
        """
        if self.stop.is_set():
            raise KeyboardInterrupt
        self._runs = runs
        for run in runs:
            if run.plan is not None and self._views.of(run.name).input is None:
                self._views.of(run.name).input = run.plan.input
        self._draw(reads=True)

    def _draw(self, *, reads: bool) -> None:
        if self.display is not None:
            self.display.show(self._views.views(self._runs, reads=reads), self._runs[0].context.clock())
        self._shown_at = time.monotonic()


@dataclass(slots=True, kw_only=True)
class NotebookView:
    """A display in the output of a notebook's cell, drawn anew in its place; the last picture stays."""

    handle: Any
    make: Callable[[str], Any]
    _said: str = field(default="", init=False)

    def tell(self, pipeline: str, event: Event) -> None:
        """Show nothing: the log has the events."""
        return

    def show(self, views: Sequence[RunView], now: datetime) -> None:
        """Draw the pipelines anew, where anything changed."""
        said = "\n".join(line for line, _ in view_lines(views, now, WIDTH))
        if said != self._said:
            self._said = said
            self.handle.update(self.make(f"<pre>{html.escape(said)}</pre>"))

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Hold nothing back: no person is asked."""
        yield


@contextmanager
def observer(progress: bool | None, clock: Callable[[], datetime], stop: threading.Event) -> Iterator[Observer]:
    """Open what shows a run: in a notebook's cell, or with `progress` at the terminal; else the log alone has it.

    With `progress` false nothing is shown.
    """
    if progress is not False and _in_notebook():
        shown = import_module("IPython.display")
        handle = shown.display(shown.HTML("<pre>batchpipe</pre>"), display_id=True)
        yield Observer(display=NotebookView(handle=handle, make=shown.HTML), stop=stop)
    elif progress and sys.stderr.isatty():
        with live_view(sys.stderr, clock) as display:
            yield Observer(display=display, stop=stop)
    else:
        yield Observer(stop=stop)


def _in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None
