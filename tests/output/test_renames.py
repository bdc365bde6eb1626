"""Renamed pipelines: the link is recorded, and no later rename or edit of the file cuts a history off."""

from __future__ import annotations

from projects import BASIC, Project, numbered


def renamed(project: Project, old: str, new: str, head: str) -> None:
    """Move the pipeline file `old` to `new`, with `head` before its text."""
    (project.root / "pipelines" / f"{old}.toml").unlink()
    project.pipeline(head + BASIC, name=new)


def test_a_chain_of_renames_and_a_link_that_left_the_file_keep_the_history(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.run()
    renamed(project, "demo", "better", 'renamed_from = "demo"\n')
    project.rows(numbered(5))
    assert project.run("better").submitted == 1
    renamed(project, "better", "best", 'renamed_from = "better"\n')
    assert project.plan("best").rows_by_reason["unchanged"] == 5
    assert project.run("best").submitted == 0
    project.pipeline(BASIC, name="best")
    assert project.plan("best").rows_by_reason["unchanged"] == 5
    assert project.run("best").submitted == 0
    links = "SELECT pipeline, data ->> 'renamed_from' FROM ledger.events WHERE kind = 'renamed' ORDER BY ALL"
    assert project.sql(links) == [("best", "better"), ("better", "demo")]
    assert project.sql("SELECT count(*) FROM best WHERE _current") == [(5,)]
