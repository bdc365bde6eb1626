"""The optional packages numpy, scipy and scikit-learn, imported at the moment a model is trained or used."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from batchpipe.common.errors import UsageError

HINT = "Install it: pip install 'batchpipe[local]'"


def _missing(name: str) -> UsageError:
    return UsageError(f'model = "local" needs the package {name}, which is not installed', hint=HINT)


PACKAGES = {"numpy": "numpy", "scipy": "scipy", "sklearn": "scikit-learn"}


def missing_package() -> str | None:
    """Return the first package that a model needs and that is not installed; None where all are."""
    return next((package for module, package in PACKAGES.items() if find_spec(module) is None), None)


def require() -> None:
    """Import what a model needs. Raises UsageError, with what to install, where a package is not installed."""
    numpy()
    sparse()
    linear_classifier()


def numpy() -> Any:
    """Return the module `numpy`. Raises UsageError, with what to install, where numpy is not installed."""
    try:
        import numpy as module
    except ImportError as error:
        raise _missing("numpy") from error
    return module


def sparse() -> Any:
    """Return the module `scipy.sparse`. Raises UsageError, with what to install, where scipy is not installed."""
    try:
        from scipy import sparse as module
    except ImportError as error:
        raise _missing("scipy") from error
    return module


def special() -> Any:
    """Return the module `scipy.special`. Raises UsageError, with what to install, where scipy is not installed."""
    try:
        from scipy import special as module
    except ImportError as error:
        raise _missing("scipy") from error
    return module


def linear_classifier(**settings: Any) -> Any:
    """Return scikit-learn's linear classifier (liblinear). Raises UsageError, with what to install, where it is not
    installed.
    """
    try:
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise _missing("scikit-learn") from error
    return LinearSVC(**settings)


def isotonic(confidences: Any, right: Any, weights: Any) -> Any:
    """Return the rising step function through shares of right answers (scikit-learn), one value per confidence."""
    try:
        from sklearn.isotonic import isotonic_regression
    except ImportError as error:
        raise _missing("scikit-learn") from error
    order = numpy().argsort(confidences, kind="stable")
    found = numpy().empty(len(order))
    found[order] = isotonic_regression(right[order], sample_weight=weights[order], y_min=0.0, y_max=1.0)
    return found
