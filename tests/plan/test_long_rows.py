"""Tests of what the texts of an input take: memory for very long ones, and a column that the local model can read."""

from __future__ import annotations

import pytest
from calls import ask
from helpers.gold import run_eval
from projects import BASIC, Project

from batchpipe.commands.report.report import report
from batchpipe.common.errors import PipelineError

LOCAL = '[[models]]\nmodel = "local"\naccept = "_confidence >= 0.6"\n\n'
# 60 texts of 1.2 MB: their hashes take some ten times as much memory.
QUERY = "SELECT id, repeat('word ' || (id % 3) || ' ', 150000) AS body, 'en' AS lang, 1 AS amount FROM range(60) t(id)"


@pytest.mark.parametrize("rungs", ["", LOCAL], ids=["model", "local"])
def test_sixty_rows_of_a_megabyte_are_planned(project: Project, rungs: str) -> None:
    text = BASIC.replace('"number"\nminimum = 0\nmaximum = 1', '"boolean"') if rungs else BASIC
    begin, end = text.split("[[models]]", 1)
    lines = [f'query = "{QUERY}"' if each.startswith("query") else each for each in begin.splitlines()]
    project.pipeline("\n".join(lines) + "\n\n" + rungs + "[[models]]" + end)
    plan = project.plan()
    assert plan.rows_by_reason["new"] + plan.rows_by_reason["failed"] == 60


def test_gold_with_long_texts_is_evaluated_and_reported(project: Project) -> None:
    # Six documents of 280 kB, and twenty questions about each.
    text = "repeat('word ' || (id % 6) || ' ', 40000) || id // 6"
    query = f"SELECT id, {text} AS body, 'en' AS lang, 1 AS amount FROM range(120) t(id)"
    gold = query.replace(" FROM", ", 'bug' AS label FROM")
    project.pipeline(
        f'[input]\nquery = "{query}"\n{BASIC[BASIC.index("key =") :]}'
        f'[eval]\ngold = "{gold}"\nfields = {{ label = "exact" }}\n'
    )
    assert run_eval(project).code == 0
    assert project.requests_sent() == 120
    assert (project.run().rows["accepted"], project.requests_sent()) == (120, 120)
    assert ask(project, report, ["demo"], as_json=True).code == 0


def test_a_prompt_of_many_pages_is_sent_for_thousands_of_rows(project: Project) -> None:
    # DuckDB works on 2,048 rows at once: their requests have 280 MB.
    manual = "The rule is that a rule is a rule. " * 3_900
    project.pipeline(
        '[input]\nquery = "SELECT range AS id, \'x\' AS body FROM range(2100)"\nkey = "id"\n'
        f'[prompt]\nuser_text = """{manual}\n{{{{ body }}}}"""\n'
        '[output.fields.label]\ntype = "boolean"\n[[models]]\nmodel = "claude-haiku-4-5"\nmax_tokens = 50\n'
    )
    assert project.run().rows["accepted"] == 2_100


def test_long_rows_of_one_pipeline_do_not_stop_another(project: Project) -> None:
    # DuckDB unpacks as many stored requests as lie together, and these have 290 MB.
    rest = '[output.fields.label]\ntype = "boolean"\n[[models]]\nmodel = "claude-haiku-4-5"\nmax_tokens = 50\n'
    for name, words in (("long", 115_000), ("demo", 2)):
        query = f"SELECT range AS id, repeat('words ', {words}) || range AS body FROM range(420)"
        head = f'[input]\nquery = "{query}"\nkey = "id"\n[prompt]\nuser_text = "{{{{ body }}}}"\n'
        project.pipeline(head + rest, name)
        rows = project.run(name).rows
        assert rows["accepted"] == 420, (name, rows)


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ("DATE '2026-01-01' AS day, 'x' AS note", 'Name what it reads: columns = ["note"].'),
        ("DATE '2026-01-01' AS day, 1 AS n", "The input has no text column: cast one in the query"),
    ],
)
def test_a_prompt_without_a_text_is_told_which_column_to_name(project: Project, columns: str, hint: str) -> None:
    query = f"SELECT 1 AS id, {columns}"
    project.pipeline(
        f'[input]\nquery = "{query}"\nkey = "id"\n[prompt]\nuser_text = "{{{{ day }}}}"\n'
        '[output.fields.label]\ntype = "string"\nenum = ["a", "b"]\n'
        '[[models]]\nmodel = "local"\naccept = "_confidence >= 0.5"\n'
        '[[models]]\nmodel = "claude-haiku-4-5"\nmax_tokens = 50\n'
    )
    with pytest.raises(PipelineError) as caught:
        project.plan()
    assert hint in str(caught.value)
