"""Tests of the simulator: a seed and a commit replay a history, and a failing history is made short."""

from __future__ import annotations

import subprocess
import sys

from checkout import ROOT

SEED = 4  # it has a kill, and takes 6 s of CPU


def simulated(*options: str) -> str:
    """Return what the simulator prints for one seed, in a process of its own."""
    command = [sys.executable, "-m", "tests.simulate", "--seeds", str(SEED), "--jobs", "1", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300).stdout


def test_a_seed_replays_the_same_calls_operations_and_verdicts() -> None:
    first, second = simulated("--trace", "--no-shrink"), simulated("--trace", "--no-shrink")
    kinds = ("batchpipe run", "store commit", "flush /.batchpipe/raw", "POST /v1/messages/batches", "exit 0")
    assert [kind for kind in kinds if kind not in first] == []
    assert _without_times(first) == _without_times(second)


def _without_times(text: str) -> list[str]:
    return [line for line in text.splitlines() if " seconds " not in line]
