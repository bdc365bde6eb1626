"""Names are compared without case: of input columns, of tables, and of pipelines in one project."""

from __future__ import annotations

import pytest
from calls import ask
from projects import BASIC, Project, numbered

from batchpipe.commands.check.check import check
from batchpipe.common.errors import PipelineError


def with_table(name: str) -> str:
    return BASIC.replace("[output.fields.label]", f'[output]\ntable = "{name}"\n[output.fields.label]')


def test_two_input_columns_of_one_name_are_refused(project: Project) -> None:
    project.rows(numbered(2))
    for doubled in ("SELECT lang AS BODY, id", "SELECT 1 AS lang, id"):
        project.pipeline(BASIC.replace("SELECT id", doubled))
        printed = ask(project, check, ["demo"])
        assert printed.code == 2
        assert "two columns of one name" in printed.out
    with pytest.raises(PipelineError, match="two columns of one name"):
        project.run()
    # What only looks numbered, and what is not among the declared columns, is none.
    project.pipeline(BASIC.replace("SELECT id", "SELECT 1 AS lang_1, 2 AS lang_2, id"))
    assert ask(project, check, ["demo"]).code == 0
    columns = "columns = { id = 'BIGINT', body = 'VARCHAR', lang = 'VARCHAR' }"
    spare = BASIC.replace("SELECT id", "SELECT 1 AS spare, 2 AS Spare, id").replace("[prompt]", f"{columns}\n[prompt]")
    project.pipeline(spare)
    assert ask(project, check, ["demo"]).code == 0


def test_two_pipelines_with_one_table_or_with_one_history_are_refused(project: Project) -> None:
    project.rows(numbered(2))
    project.pipeline(with_table("main.Other"))
    project.pipeline(BASIC, name="other")
    for name in ("demo", "other"):
        printed = ask(project, check, [name])
        assert printed.code == 2
        assert "output table" in printed.out
    project.pipeline('renamed_from = "other"\n' + BASIC)
    printed = ask(project, check, ["demo"])
    assert printed.code == 2
    assert "still there: pipelines/other.toml" in printed.out
    project.pipeline()
    assert ask(project, check, ["demo", "other"]).code == 0
