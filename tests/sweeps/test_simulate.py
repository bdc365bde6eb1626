"""Tests of the simulator: a seed and a commit replay a history, and a failing history is made short."""

from __future__ import annotations

import subprocess
import sys

import pytest
from checkout import ROOT

# Each takes 6 s of CPU: 4 has a kill, and 116 uploads, whose parts a client tells apart by a random boundary.
SEEDS = {4: "POST /v1/messages/batches", 116: "POST /v1/files"}


def simulated(seed: int, *options: str) -> str:
    """Return what the simulator prints for one seed, in a process of its own."""
    command = [sys.executable, "-m", "tests.simulate", "--seeds", str(seed), "--jobs", "1", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300).stdout


@pytest.mark.parametrize(("seed", "create"), SEEDS.items())
def test_a_seed_replays_the_same_calls_operations_and_verdicts(seed: int, create: str) -> None:
    first, second = simulated(seed, "--trace", "--no-shrink"), simulated(seed, "--trace", "--no-shrink")
    kinds = ("batchpipe run", "store commit", "flush /.batchpipe/raw", create, "exit 0")
    assert [kind for kind in kinds if kind not in first] == []
    assert _without_times(first) == _without_times(second)


def _without_times(text: str) -> list[str]:
    return [line for line in text.splitlines() if " seconds " not in line]
