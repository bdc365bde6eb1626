"""`python -m tests.crash`: the whole sweep, its table at the end."""

import sys
from pathlib import Path

import pytest

sys.exit(pytest.main([str(Path(__file__).parents[1] / "test_crash.py"), "--full-sweep", "-q", *sys.argv[1:]]))
