"""`collecting.py FILE ARGUMENT...`: batchpipe with these arguments, and the CPU of collecting in it.

Collecting is the download of results, all that is decided by them, and its commit. FILE gets the CPU in seconds, of
all threads, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch


def main(path: str, arguments: Sequence[str]) -> int:
    from batchpipe.cli.main import main as batchpipe
    from batchpipe.engine.batches.in_flight import BatchesInFlight

    seconds: list[float] = []

    def timed(name: str) -> Any:
        wrapped: Callable[..., Any] = getattr(BatchesInFlight, name)

        def call(*given: Any) -> Any:
            began = time.process_time()
            try:
                return wrapped(*given)
            finally:
                seconds.append(time.process_time() - began)

        return patch.object(BatchesInFlight, name, call)

    with timed("_save"), timed("_collect"):
        code = batchpipe(arguments)
    Path(path).write_text(json.dumps({"cpu_seconds": sum(seconds)}), encoding="utf-8")
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2:]))
