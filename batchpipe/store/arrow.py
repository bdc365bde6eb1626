"""pyarrow, once it is needed, and without pandas.

Its import is a twentieth of what a call with nothing to do takes. At the first array of a process it imports pandas,
where it is installed, to see whether it was given a Series: half a second of CPU for nothing. It tries once only.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.abc import MetaPathFinder
from typing import Any


class _NoPandas(MetaPathFinder):
    """Finds that there is no pandas."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out", name=fullname)


@cache
def arrow() -> Any:
    """The module pyarrow, with its Parquet writer. It has looked for pandas while that could not be found."""
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
