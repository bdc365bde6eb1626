"""A test of the time and memory that it takes to collect a large results file."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from benchmarks.measure import Size, bench

CPU_SECONDS = 1.5
BUSY_CPU_SECONDS = 3.0


@pytest.mark.proof
def test_a_hundred_thousand_lines_are_collected_in_seconds(tmp_path: Path, full_sweep: bool) -> None:
    """Check the bound; the short form has a fifth of the lines and allows for a busy machine."""
    size = Size(rows=100_000 if full_sweep else 20_000, row_bytes=200, chunk=100_000)
    with bench(tmp_path) as place:
        place.rows(size)
        place.project(size)
        place.batchpipe("submit", size, "--no-wait", codes=(5,), answered=0)
        time.sleep(1)
        seconds = place.collecting(size)
        assert place.batchpipe("again", size).rows == size.rows
    assert 0 < seconds < (CPU_SECONDS if full_sweep else BUSY_CPU_SECONDS)
