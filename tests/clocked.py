"""A clock that tests set. The engine and the emulator share it, and a sleep moves it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from projects import Project

from batchpipe.common.machine import utc_now
from batchpipe.engine.context import Context
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.preview import preview
from batchpipe.engine.run.runner import RunOutcome, run_pipelines
from batchpipe.pipeline.load import load
from batchpipe.project.settings import load_settings

LONGEST = timedelta(hours=30)
SETTINGS = {"poll_interval": 60.0, "reconcile_wait": 600.0}


@dataclass(slots=True, kw_only=True)
class Clock:
    """The clock of a project. `step`: the least number of seconds by which a sleep of the engine moves it."""

    project: Project
    step: float = 30.0
    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return utc_now() + self.ahead

    def advance(self, span: timedelta) -> None:
        self.ahead += span
        self.project.control("clock", {"advance_seconds": span.total_seconds()})

    def sleep(self, seconds: float) -> None:
        self.advance(timedelta(seconds=max(seconds, self.step)))

    def run(
        self, name: str = "demo", *, key: str = "test-key", wait: timedelta = LONGEST, **options: Any
    ) -> RunOutcome:
        """Run a pipeline with this clock, for at most `wait` of its time."""
        project, context = self.project, self._context(key)
        run = PipelineRun(
            context=context,
            file=load(project.root / "pipelines" / f"{name}.toml", project.root),
            options=RunOptions(**options),
            tell=lambda name, text: project.said.append(f"{name}: {text}"),
            confirm=lambda resolved, plan: True,
        )
        try:
            (outcome,) = run_pipelines(
                context, [run], wait_seconds=wait.total_seconds(), show=lambda runs: None, sleep=self.sleep
            )
        finally:
            context.close()
        return outcome

    def plan(self, name: str = "demo", **options: Any) -> Plan:
        """Return what a run would do at the time of this clock."""
        context = self._context("test-key")
        try:
            file = load(self.project.root / "pipelines" / f"{name}.toml", self.project.root)
            return preview(context, file, RunOptions(**options)).plan
        finally:
            context.close()

    def _context(self, key: str) -> Context:
        project = self.project
        return Context(
            root=project.root,
            settings=load_settings(project.root, environment={}, command_line=SETTINGS),
            environment=project.environment | {"ANTHROPIC_API_KEY": key},
            say=project.said.append,
            wait_seconds=5.0,
            clock=self.now,
        )
