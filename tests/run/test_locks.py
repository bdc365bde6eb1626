"""Tests of the lock that lets one run of a pipeline at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchpipe.common.errors import LockedError
from batchpipe.engine.ledger.locks import pipeline_lock

NOW = datetime(2026, 11, 29, tzinfo=UTC).replace(tzinfo=None)


def test_a_lock_is_let_go_although_its_holders_name_cannot_be_removed(tmp_path: Path) -> None:
    with pipeline_lock(tmp_path, "demo", NOW):
        with pytest.raises(LockedError), pipeline_lock(tmp_path, "demo", NOW):
            pass
        holder = tmp_path / "demo.holder.json"
        holder.unlink()
        holder.mkdir()
    holder.rmdir()
    with pipeline_lock(tmp_path, "demo", NOW):
        assert holder.is_file()
