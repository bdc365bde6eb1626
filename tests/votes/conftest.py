"""Fixtures for tests of rungs that vote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.desks import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A project whose emulator answers by a table."""
    found = Desk(tmp_path)
    yield found
    found.close()
