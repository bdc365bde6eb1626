"""Tests of `diff` with gold rows: rows that one side fixed, and rows that it broke."""

from __future__ import annotations

import pytest
from commandline import CommandLine
from helpers.gold import GOLD, HAIKU, SONNET, answer_by, answer_lines, gold_rows
from helpers.prompts import SAY
from helpers.reviewed import correct
from projects import BASIC, Project
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from batchpipe.commands.diff.gold import SHOWN_KEYS
from batchpipe.evaluation import library

EVERY = '\n[review]\nwhere = "true"\n'


def right_before(number: int) -> bool:
    return number % 3 != 0


def right_after(number: int) -> bool:
    return number % 3 != 1 or number % 2 == 0


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Forty rows answered with two prompts; the true label of thirty is known."""
    line = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    line.provide(project)
    rows = gold_rows(40)
    project.rows(rows)
    project.rows(rows[:30], "gold.csv")
    before = answer_lines(rows, {HAIKU: right_before})
    after = [line | {"match": f"Say: {line['match']}"} for line in answer_lines(rows, {HAIKU: right_after})]
    answer_by(project, [*after, *before])
    line.provide(project)
    for text in (BASIC, SAY):
        project.pipeline(text + GOLD + EVERY)
        project.run()
    return line


def expected() -> tuple[list[int], list[int]]:
    fixed = [n for n in range(1, 31) if right_after(n) and not right_before(n)]
    return fixed, [n for n in range(1, 31) if right_before(n) and not right_after(n)]


def test_fixed_and_broken_rows_with_mcnemars_p(typed: CommandLine) -> None:
    found = typed("diff", "demo", "--json").value["gold"]
    fixed, broken = expected()
    assert found["n"] == 30
    assert sorted(int(key) for [key] in found["fixed"]) == fixed
    assert sorted(int(key) for [key] in found["broken"]) == broken
    p_value = mcnemar([[0, len(fixed)], [len(broken), 0]], exact=True).pvalue
    assert float(found["p_value"]) == pytest.approx(p_value, abs=1e-9)
    for side, is_right in (("from", right_before), ("to", right_after)):
        hits = sum(is_right(n) for n in range(1, 31))
        assert (found[side]["right"], float(found[side]["accuracy"])) == (hits, hits / 30)
        low, high = proportion_confint(hits, 30, method="wilson")
        assert [float(each) for each in found[side]["ci95"]] == pytest.approx([low, high], abs=1e-9)
    assert found["fields"]["label"] == {name: found[name] for name in ("from", "to", "fixed", "broken", "p_value")}
    assert found["gold_from_review"]["rows"] == 0


def test_for_people_in_every_form(typed: CommandLine, project: Project) -> None:
    fixed, broken = expected()
    text, markdown = typed("diff", "demo").out, typed("diff", "demo", "--markdown").out
    typed("diff", "demo", "--html", "page.html")
    page = (project.root / "page.html").read_text(encoding="utf-8")
    keys = sorted(map(str, fixed))
    some = ", ".join(sorted(keys, key=lambda key: f'["{key}"]')[:SHOWN_KEYS])
    for shown in (text, markdown, page):
        assert "Compared with 30 gold rows" in shown
        assert f"fixed: {some}" in shown
        assert "p = " in shown
    assert f"| `label` | {20 / 30:.1%} (" in markdown
    assert f"| {len(fixed)} | {len(broken)} |" in markdown
    assert "<h2>Compared with 30 gold rows</h2>" in page


def test_reviews_win_and_are_counted(typed: CommandLine, project: Project) -> None:
    labels = dict(project.sql("SELECT id, label FROM demo"))
    correct(project, {3: {"label": labels[1]}, 35: {}})
    found = typed("diff", "demo", "--json").value["gold"]
    assert (found["n"], found["gold_from_review"]["where"]) == (31, 2)
    assert "2 of 31 gold rows come from review" in typed("diff", "demo").out


def test_several_fields_each_alone_and_together(typed: CommandLine, project: Project) -> None:
    gold = "SELECT *, 0.9 AS score FROM 'gold.csv'"
    project.pipeline(SAY + GOLD.replace('"gold.csv"', f'"{gold}"') + EVERY)
    found = typed("diff", "demo", "--json").value["gold"]
    assert set(found["fields"]) == {"label", "score"}
    assert found["to"]["right"] <= min(each["to"]["right"] for each in found["fields"].values())
    assert "every field" in typed("diff", "demo").out


def test_models_are_compared_too(project: Project, typed: CommandLine) -> None:
    rows = gold_rows(40)
    said = answer_lines(rows, {HAIKU: right_after, SONNET: lambda n: True})
    answer_by(project, [line | {"match": f"Say: {line['match']}"} for line in said])
    project.pipeline(SAY.replace(HAIKU, SONNET) + GOLD)
    project.run(redo="all")
    found = typed("diff", "demo", "--from-model", HAIKU, "--to-model", SONNET, "--json").value["gold"]
    assert (found["n"], found["to"]["right"], found["broken"]) == (30, 30, [])


def test_true_values_of_another_text_are_not_of_these_rows(project: Project, typed: CommandLine) -> None:
    rows = gold_rows(30)
    project.rows(
        [row | {"body": f"{row['body']}, edited" if row["id"] > 10 else row["body"]} for row in rows], "gold.csv"
    )
    assert typed("diff", "demo", "--json").value["gold"]["n"] == 10


def test_without_gold_the_rest_is_shown(project: Project, typed: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.root / "gold.csv").unlink()
    found = typed("diff", "demo", "--json")
    assert (found.value["gold"], found.value["rows"]["compared"]) == (None, 40)
    assert "Not compared with gold" in found.talk
    project.pipeline(SAY)
    found = typed("diff", "demo", "--json")
    assert (found.value["gold"], found.talk) == (None, "")
    assert "gold" not in typed("diff", "demo").out
    # Without the library of statistics only the test is missing.
    project.pipeline(SAY + GOLD)
    project.rows(gold_rows(30), "gold.csv")
    monkeypatch.setitem(__import__("sys").modules, "scipy", None)
    assert library.HINT in typed("diff", "demo").out
    value = typed("diff", "demo", "--json").value["gold"]
    assert (value["n"], value["p_value"]) == (30, None)


def test_of_a_field_that_one_side_lacks_no_side_is_right(typed: CommandLine, project: Project) -> None:
    rows = gold_rows(40)
    project.rows([row | {"note": "said"} for row in rows[:30]], "gold.csv")
    lines = answer_lines(rows, {HAIKU: right_after})
    outputs = [line | {"output": line["output"] | {"note": "said"}} for line in lines]
    answer_by(project, [line | {"match": f"Tell: {line['match']}"} for line in outputs])
    typed.provide(project)
    telling = SAY.replace("Say: ", "Tell: ") + '[output.fields.note]\ntype = "string"\n'
    project.pipeline(telling + GOLD)
    project.run()
    found = typed("diff", "demo", "--json").value
    fixed, broken = (len(found["gold"][word]) for word in ("fixed", "broken"))
    assert found["added_fields"] == ["note"]
    assert list(found["gold"]["fields"]) == ["label"]
    assert (fixed, broken) == (0, 0)  # the labels are the same as before
