"""The libraries of statistics, which are an extra: loaded when a number is asked for."""

from __future__ import annotations

from typing import Any

from batchpipe.common.errors import UsageError

HINT = "Install it: pip install 'batchpipe[eval]'"


def scipy_stats() -> Any:
    """The module `scipy.stats`; UsageError with what to install where it is not here."""
    try:
        from scipy import stats
    except ImportError as error:
        raise UsageError("evaluation needs the package scipy, which is not installed", hint=HINT) from error
    return stats


def numpy() -> Any:
    """The module `numpy`, which scipy brings; UsageError with what to install where it is not here."""
    try:
        import numpy as module
    except ImportError as error:
        raise UsageError("evaluation needs the package numpy, which is not installed", hint=HINT) from error
    return module
