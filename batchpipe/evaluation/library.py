"""The library of statistics, which is an extra: loaded when a number is asked for."""

from __future__ import annotations

from typing import Any

from batchpipe.errors import UsageError

INSTALL = "pip install 'batchpipe[eval]'"


def scipy_stats() -> Any:
    """The module `scipy.stats`; UsageError with what to install where it is not here."""
    try:
        from scipy import stats
    except ImportError as error:
        what = "evaluation needs the package scipy, which is not installed"
        raise UsageError(what, hint=f"Install it: {INSTALL}") from error
    return stats
