"""A field that was renamed keeps its answers: they are carried over, unpaid, under the field's name of today."""

from __future__ import annotations

from decimal import Decimal

import pytest
from calls import call_here
from projects import BASIC, Project, numbered

from batchpipe.common.errors import PipelineError

RENAMED = BASIC.replace("[output.fields.label]\n", '[output.fields.queue]\nrenamed_from = "label"\n')


def test_a_renamed_field_pays_nothing_also_once_the_older_name_has_left_the_file(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(6))
    project.run()
    before = project.sql("SELECT id, label, score, _cost_usd FROM demo ORDER BY id")
    project.pipeline(RENAMED)
    assert project.plan().rows_by_reason["carried_over"] == 6
    assert project.run().submitted == 0
    assert project.sql("SELECT id, queue, score, _cost_usd FROM demo WHERE _current ORDER BY id") == before
    assert [row[0] for row in project.sql("DESCRIBE demo")][:3] == ["id", "queue", "score"]
    # Without the older name the answers are judged again by a check on the new one, and found.
    labels = "queue IN ('billing', 'bug', 'other')"
    checked = RENAMED.replace('renamed_from = "label"\n', "").replace(
        "[prompt]", f'[output.checks]\nk = "{labels}"\n[prompt]'
    )
    project.pipeline(checked)
    assert project.run().submitted == 0
    # A second rename, of both fields at once.
    both = checked.replace("fields.queue]", 'fields.task]\nrenamed_from = "queue"').replace("queue IN", "task IN")
    project.pipeline(both.replace("fields.score]", 'fields.points]\nrenamed_from = "score"'))
    assert project.run().submitted == 0
    assert project.sql("SELECT id, task, points, _cost_usd FROM demo WHERE _current ORDER BY id") == before


def test_kept_rows_show_a_renamed_field_and_an_older_name_that_is_a_field_is_refused(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.run()
    labels = project.sql("SELECT id, label FROM demo ORDER BY id")
    project.pipeline(RENAMED.replace("{{ body }}", "Sort: {{ body }}"))
    assert project.run(keep="all").submitted == 0
    assert project.sql("SELECT id, queue FROM demo WHERE _current ORDER BY id") == labels
    for wrong in ("score", "queue", "Score"):
        with pytest.raises(PipelineError, match="is a field that is there"):
            project.pipeline(RENAMED.replace('renamed_from = "label"', f'renamed_from = "{wrong}"'))


def test_a_reviewed_number_keeps_its_digits_where_another_field_is_renamed(project: Project) -> None:
    exact = BASIC.replace('"number"\nminimum = 0\nmaximum = 1\n', '"number"\ncolumn = "DECIMAL(30,10)"\n')
    exact += '[review]\nwhere = "true"\nblind = false\n'
    project.pipeline(exact)
    project.rows(numbered(1))
    project.run()
    digits = "98765432109876543210.98"
    assert call_here(project, "review", "demo", "--export", "sheet.csv").returncode == 0
    sheet = project.root / "sheet.csv"
    [(score,)] = project.sql("SELECT output ->> 'score' FROM ledger.results")
    sheet.write_text(sheet.read_text(encoding="utf-8-sig").replace(score, digits), encoding="utf-8")
    assert call_here(project, "review", "demo", "--import", "sheet.csv").returncode == 0
    project.pipeline(exact.replace("[output.fields.label]\n", '[output.fields.queue]\nrenamed_from = "label"\n'))
    assert project.run().submitted == 0
    shown = project.sql("SELECT queue IS NOT NULL, score, _current FROM demo")
    assert shown == [(True, Decimal(digits), True)]
