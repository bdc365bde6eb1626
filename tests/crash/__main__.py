"""`python -m tests.crash` makes the whole sweep in two processes and prints the counts at the end."""

import sys
from pathlib import Path

import pytest

test = Path(__file__).parents[1] / "sweeps" / "test_crash.py"
sys.exit(pytest.main([str(test), "--full-sweep", "-q", "-n", "2", *sys.argv[1:]]))
