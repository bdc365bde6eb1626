"""Hold what was typed on the command line, before anything is looked up. This module imports nothing heavy."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Globals:
    """The options that may stand before or after any command."""

    directory: str | None = None
    env: str | None = None
    debug: bool = False
    database: str | None = None
    emulator: bool = False
    answers: str | None = None
    faults: str | None = None
    log_format: str | None = None
    quiet: bool = False

    @property
    def typed(self) -> str:
        """Return the options as a person would type them again."""
        pairs = {
            "-C": self.directory,
            "--env": self.env,
            "--database": self.database,
            "--answers": self.answers,
            "--faults": self.faults,
            "--log-format": self.log_format,
        }
        words = [word for name, value in pairs.items() if value is not None for word in (name, value)]
        return shlex.join([*words, *(["--emulator"] if self.emulator else [])])


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A command that was understood. `act` takes a `Call`, or a `Talk` where the command needs no project.

    `pipelines` are the arguments that lead to the root. `serves` is true for `batchpipe emulator`.
    """

    act: Callable[[Any], int]
    given: Globals = Globals()
    json: bool = False
    pipelines: Sequence[str] = ()
    in_project: bool = True
    serves: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsRequest:
    """The options that `run` and `plan` share, as typed: which rows of which pipelines, and what is asked of them."""

    pipelines: Sequence[str] = ()
    all: bool = False
    no_new: bool = False
    limit: int | None = None
    where: str | None = None
    redo: str | None = None
    keep: str | None = None
    retry_failed: bool = False
    withdraw: Sequence[int] = ()
    params: Sequence[str] = ()
    with_upstream: bool = False
    realtime: bool = False
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest(RowsRequest):
    """The options of `run`, as typed."""

    no_wait: bool = False
    wait: str | None = None
    max_usd: str | None = None
    pending_ok: bool = False
    approve: bool = False
    resume: bool = False
    yes: bool = False
    pilot: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest(RowsRequest):
    """The options of `plan`, as typed."""

    rows: bool = False
    diff: bool = False
    from_version: str | None = None
    to_version: str | None = None
    markdown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TryRequest:
    """The options of `try`, as typed."""

    pipeline: str
    keys: Sequence[str] = ()
    rows: int = 5
    where: str | None = None
    rung: int | None = None
    model: str | None = None
    params: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRequest:
    """The options of `review`, as typed; `export` and `source` are files."""

    pipeline: str
    export: str | None = None
    source: str | None = None
    again: bool = False
    report: bool = False
    force: bool = False
    params: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRequest:
    """The options of `diff`, as typed; `rows` is the number of changed rows to show."""

    pipeline: str
    from_version: str | None = None
    to_version: str | None = None
    from_model: str | None = None
    to_model: str | None = None
    rows: int = 10
    markdown: bool = False
    html: str | None = None
    with_rows: bool = False
    params: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRequest:
    """The options of `eval`, as typed."""

    pipeline: str
    models: str | None = None
    model: Sequence[str] = ()
    sample: int | None = None
    no_wait: bool = False
    wait: str | None = None
    fail_under: Sequence[str] = ()
    against: str | None = None
    max_drop: float | None = None
    markdown: bool = False
    history: bool = False
    tune: bool = False
    target: float | None = None
    as_good_as: str | None = None
    labels: int | None = None
    reviewer_usd: str | None = None
    reviewer_accuracy: float | None = None
    precision: Sequence[str] = ()
    recall: Sequence[str] = ()
    risk: float | None = None
    held_out: bool = False
    plot: str | None = None
    html: str | None = None
    with_rows: bool = False
    max_usd: str | None = None
    yes: bool = False
    params: Sequence[str] = field(default=())
