"""Tests of a database file that goes away, or is replaced, while a command waits with the file closed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from projects import BASIC, Project, numbered

from batchpipe.common.errors import DatabaseError
from batchpipe.common.machine import THIS_MACHINE, utc_now
from batchpipe.store.database import Database, Work


def database_of(project: Project) -> Path:
    return project.root / "batchpipe.duckdb"


def remove(project: Project) -> None:
    for each in project.root.glob("batchpipe.duckdb*"):
        each.unlink()


def remove_all(project: Project) -> None:
    remove(project)
    shutil.rmtree(project.root / ".batchpipe")


def put_an_empty_one(project: Project) -> None:
    remove(project)
    duckdb.connect(database_of(project)).close()


def put_a_new_one(project: Project) -> None:
    remove(project)
    work = Work.open()
    with Database(path=database_of(project), clock=utc_now).writing(work, None):
        pass
    work.close()


def put_a_backup(project: Project) -> None:
    remove(project)
    shutil.copy(project.root / "backup", database_of(project))


def happens_while_a_batch_is_in_flight(project: Project, happens: Callable[[Project], None]) -> None:
    """Two rows are answered and backed up; two more are sent, and then it `happens`, once, while the run sleeps."""
    project.rows(numbered(2))
    project.run()
    shutil.copy(database_of(project), project.root / "backup")
    project.rows(numbered(4))
    project.faults({"delay_seconds": 1})
    left = [happens]

    def sleep(seconds: float) -> None:
        if left and project.requests_sent() == 4:
            left.pop()(project)
        time.sleep(seconds)

    context = project.context()
    context.machine = replace(THIS_MACHINE, sleep=sleep)
    project.context = lambda: context  # type: ignore[method-assign]
    try:
        project.run()
    finally:
        del project.context
        assert not left


@pytest.mark.parametrize("happens", [remove, remove_all, put_an_empty_one, put_a_new_one])
def test_a_database_that_goes_away_while_a_run_waits_is_told_and_not_made_anew(
    project: Project, happens: Callable[[Project], None]
) -> None:
    project.pipeline()
    with pytest.raises(DatabaseError, match="removed or replaced while this ran; in flight: msgbatch_") as caught:
        happens_while_a_batch_is_in_flight(project, happens)
    assert database_of(project).exists() == (happens in (put_an_empty_one, put_a_new_one))
    if happens is remove_all:
        assert "There is nothing in" in str(caught.value)
        return
    assert "pays for none of that again" in str(caught.value)
    result = project.run()
    assert (result.rows["accepted"], result.submitted, project.requests_sent()) == (4, 0, 4)


def test_a_backup_that_is_put_back_while_a_run_waits_is_gone_on_with(project: Project) -> None:
    project.pipeline(BASIC)
    happens_while_a_batch_is_in_flight(project, put_a_backup)
    result = project.run()
    assert (result.rows["accepted"], project.requests_sent()) == (4, 4)
