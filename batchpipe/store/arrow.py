"""Import pyarrow at the moment it is needed, and without pandas.

The import takes a twentieth of the time of a run that has nothing to do. When a process makes its first array, pyarrow
imports pandas if that is installed, to test whether it was given a Series. This costs half a second of CPU and is of no
use here. pyarrow tries it only once.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.abc import MetaPathFinder
from typing import Any


class _NoPandas(MetaPathFinder):
    """A finder of modules that reports that pandas is not installed."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out", name=fullname)


@cache
def arrow() -> Any:
    """Return the module pyarrow with its Parquet writer, after it has looked for pandas and not found it."""
    import pyarrow
    import pyarrow.parquet

    if "pandas" not in sys.modules:
        finder = _NoPandas()
        sys.meta_path.insert(0, finder)
        try:
            pyarrow.array([], pyarrow.null())
        finally:
            sys.meta_path.remove(finder)
    return pyarrow
