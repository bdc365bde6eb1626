"""The optional packages scipy and numpy, imported at the moment a number is computed."""

from __future__ import annotations

from typing import Any

from batchpipe.common.errors import UsageError

HINT = "Install it: pip install 'batchpipe[eval]'"


def scipy_stats() -> Any:
    """Return the module `scipy.stats`. Raises UsageError, with what to install, where scipy is not installed."""
    try:
        from scipy import stats
    except ImportError as error:
        raise UsageError("evaluation needs the package scipy, which is not installed", hint=HINT) from error
    return stats


def numpy() -> Any:
    """Return the module `numpy`. Raises UsageError, with what to install, where numpy is not installed."""
    try:
        import numpy as module
    except ImportError as error:
        raise UsageError("evaluation needs the package numpy, which is not installed", hint=HINT) from error
    return module
