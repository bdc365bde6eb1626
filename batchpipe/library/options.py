"""Check what a program asks of a plan or a run, and turn it into the options of the engine."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from batchpipe.commands.call.params import declared_params
from batchpipe.common.errors import UsageError
from batchpipe.engine.run.options import RunOptions
from batchpipe.library.runs import RunCall
from batchpipe.pipeline.model import PipelineFile

Money = Decimal | float | str


def row_options(
    files: Sequence[PipelineFile],
    *,
    limit: int | None = None,
    params: Mapping[str, Any] | None = None,
    **options: Any,
) -> RunOptions:
    """Return which rows a plan or a run is about.

    Raises UsageError for a limit that is no number of rows, and for a parameter that no file declares.
    """
    declared = dict(declared_params(files, params or {}, where="params"))
    return RunOptions(params=declared, limit=positive(limit), **options)


def run_call(
    files: Sequence[PipelineFile],
    stop: threading.Event,
    *,
    max_usd: Money | None = None,
    wait: bool | float | timedelta = True,
    pilot: int | None = None,
    progress: bool | None = None,
    **options: Any,
) -> RunCall:
    """Return how a program runs pipelines. `stop` ends the run as an interrupt does. Raises UsageError."""
    asked = row_options(
        files, max_usd=dollars(max_usd), no_wait=wait is False, pilot=positive(pilot, "pilot"), **options
    )
    return RunCall(options=asked, wait_seconds=_seconds(wait), progress=progress, stop=stop)


def dollars(given: Money | None) -> Decimal | None:
    """Return an amount of US dollars. Raises UsageError for what is none."""
    if given is None:
        return None
    try:
        value = Decimal(str(given).removeprefix("$"))
    except InvalidOperation:
        value = Decimal(-1)
    if isinstance(given, bool) or not value.is_finite() or value < 0:
        hint = "Write US dollars, like max_usd=2.50."
        raise UsageError(f"{given!r} is not an amount of money", where="max_usd", hint=hint)
    return value


def positive(number: int | None, name: str = "limit") -> int | None:
    """Return a number of rows. Raises UsageError for one below 1."""
    if number is not None and (isinstance(number, bool) or number < 1):
        hint = f"Write 1 or more, or leave {name} out."
        raise UsageError(f"{number!r} is not a number of rows", where=name, hint=hint)
    return number


def _seconds(wait: bool | float | timedelta) -> float | None:
    """Return how long a run waits in seconds; None for to the end. Raises UsageError for what is no duration."""
    if isinstance(wait, bool):
        return None
    seconds = wait.total_seconds() if isinstance(wait, timedelta) else wait
    if not 0 <= seconds < float("inf"):
        hint = "Write True, False, seconds, or a datetime.timedelta."
        raise UsageError(f"{wait!r} is not a duration", where="wait", hint=hint)
    return float(seconds)
