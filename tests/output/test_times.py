"""Dates and times of answers are in the table as the answer has them, or the answer is asked again with the reason."""

from __future__ import annotations

from projects import BASIC, Project, numbered

TIMED = BASIC.split("[output.fields.label]")[0] + (
    '[output.fields.day]\ntype = "string"\ncolumn = "DATE"\n'
    '[output.fields.moment]\ntype = "string"\ncolumn = "TIMESTAMP_NS"\n'
) + BASIC[BASIC.index("[[models]]") :]  # fmt: skip


def test_a_time_that_a_column_cannot_hold_is_asked_again_and_told_why(project: Project) -> None:
    """Answers that an earlier version has read in part are judged again, at no cost where nothing of them was lost."""
    project.pipeline(TIMED)
    project.rows(numbered(2))
    moment = "2024-01-01T10:00:00.123456789Z"
    early, late = ({"day": day, "moment": moment} for day in ("2024-01-05T00:00:00Z", "2024-01-05T23:00:00-05:00"))
    project.faults({"requests": [{"match": "", "output": late, "times": 1}, {"match": "", "output": early}]})
    result = project.run()
    assert (result.rows["accepted"], result.submitted) == (2, 3)
    error = "day: the value does not fit DATE (DATE takes no time of day)"
    assert project.sql("SELECT error FROM ledger.decisions WHERE state = 'retry'") == [(error,)]
    shown = "SELECT DISTINCT day::VARCHAR, moment::VARCHAR, _current FROM demo"
    assert project.sql(shown) == [("2024-01-05", "2024-01-01 10:00:00.123456789", True)]
    assert project.sql("SELECT policy ->> 'texts' FROM ledger.policies") == [("exact",)]
    project.pipeline(TIMED.replace('column = "DATE"', 'column = "TIMESTAMP"'))
    assert project.run().submitted == 0
    assert project.sql(shown) == [("2024-01-05 00:00:00", "2024-01-01 10:00:00.123456789", True)]
