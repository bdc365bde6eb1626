"""pyarrow without pandas.

At the first array of a process pyarrow imports pandas, where it is installed, to see whether it was given a Series:
half a second of CPU for nothing. It tries once only.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder

import pyarrow


class _NoPandas(MetaPathFinder):
    """Finds that there is no pandas."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out", name=fullname)


def leave_pandas_out() -> None:
    """Let pyarrow look for pandas while it cannot be found; nothing where it is loaded already."""
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pyarrow.array([], pyarrow.null())
    finally:
        sys.meta_path.remove(finder)
