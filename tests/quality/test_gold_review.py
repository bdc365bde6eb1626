"""Tests that what people answered in review counts as gold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers.gold import GOLD, HAIKU, LABELS, LADDER, RIGHT, answer_by, answer_lines, gold_rows, report, run_eval, wrong
from helpers.reviewed import correct
from projects import BASIC, Project, numbered

from batchpipe.common.errors import InputError, PipelineError

UNGOLD = '\n[eval]\nfields = { label = "exact" }\nconfidence = "score"\n'
EVERY = '\n[review]\nwhere = "true"\n'
EDITED = ("{{ body }}", "Label: {{ body }}")


def accuracy(found: Any) -> float:
    return float(found["ladder"]["fields"]["label"]["accuracy"])


class TestBesideGold:
    @pytest.fixture
    def reviewed(self, project: Project) -> Project:
        """Gold has rows 1 to 20 with their input; of the 30 rows of the input rows 3, 4, 25 and 26 are reviewed."""
        project.pipeline(LADDER + GOLD + EVERY)
        rows = gold_rows(30)
        project.rows(rows)
        project.rows(rows[:20], "gold.csv")
        answer_by(project, answer_lines(rows, RIGHT))
        project.run()
        correct(project, {3: {"label": wrong(LABELS[0])}, 4: {}, 25: {"label": LABELS[25 % 3]}, 26: {}})
        return project

    def test_reviewed_rows_are_added_and_win(self, reviewed: Project) -> None:
        (reviewed.root / "rows.csv").unlink()
        said = dict(reviewed.sql("SELECT id, label FROM demo WHERE _reviewed_by IS NOT NULL"))
        sent = reviewed.requests_sent()
        printed = run_eval(reviewed)
        found = printed.value
        assert found["gold"] == 22
        reasons = dict(reviewed.sql("SELECT key, list_contains(chosen, 'ladder') FROM ledger.reviews"))
        unsure = sum(reasons.values())
        assert found["gold_from_review"] == {
            "rows": 4,
            "sample": 0,
            "ladder": unsure,
            "where": 4 - unsure,
            "other": 0,
        }
        assert "4 of 22 gold rows come from review" in printed.talk
        assert "Only the sample stands for the whole input" in printed.talk
        # All of it was answered by the run.
        assert reviewed.requests_sent() == sent
        truth = {row["id"]: row["category"] for row in gold_rows(20)} | said
        answered = reviewed.sql(
            "SELECT json_extract_string(q.key, '$[0]')::INTEGER, arg_max(r.output ->> 'label', (q.rung, r.seq)) "
            "FROM ledger.requests q JOIN ledger.results r USING (custom_id) WHERE q.pipeline = 'demo' GROUP BY ALL"
        )
        right = sum(label == truth[key] for key, label in answered if key in truth)
        assert accuracy(found) == right / 22
        assert truth[3] != gold_rows(3)[2]["category"]
        assert report(reviewed) == found

    def test_an_edit_asks_reviewed_rows_too(self, reviewed: Project) -> None:
        sent = reviewed.requests_sent()
        reviewed.pipeline((LADDER + GOLD + EVERY).replace(*EDITED))
        assert report(reviewed, models="all")["gold"] == 22
        assert reviewed.requests_sent() == sent + 44

    def test_a_review_of_another_text_says_nothing_of_golds(self, reviewed: Project) -> None:
        rows = gold_rows(20)
        rows[3]["body"] = "question <4> as it was written later"
        reviewed.rows(rows, "gold.csv")
        found = report(reviewed)
        assert (found["gold"], found["gold_from_review"]["rows"]) == (22, 3)

    def test_sources_that_give_other_types_are_alike(self, reviewed: Project) -> None:
        text = (LADDER + GOLD + EVERY).replace("{{ body }}", "{{ amount }} {{ body }}")
        reviewed.pipeline(text)
        reviewed.run(redo="all")
        correct(reviewed, {3: {}, 25: {}})
        # Row 26 was reviewed before the prompt read the amount.
        assert report(reviewed)["gold_from_review"]["rows"] == 3
        reviewed.pipeline(text.replace('"gold.csv"', "\"SELECT * REPLACE (amount::DOUBLE AS amount) FROM 'gold.csv'\""))
        found = report(reviewed)
        assert (found["gold"], found["gold_from_review"]["rows"]) == (21, 3)

    def test_rows_that_lack_what_the_prompt_reads_now_are_left_out(self, reviewed: Project) -> None:
        reviewed.pipeline((LADDER + GOLD + EVERY).replace("{{ body }}", "{{ amount }} {{ body }}"))
        printed = run_eval(reviewed)
        assert (printed.value["gold"], printed.value["gold_from_review"]["rows"]) == (20, 2)
        assert "2 reviewed rows left out" in printed.talk


def test_gold_by_key_and_a_row_whose_input_has_changed(project: Project) -> None:
    project.pipeline(BASIC + GOLD + EVERY)
    rows = gold_rows(20)
    project.rows(rows)
    project.rows([{"id": row["id"], "category": row["category"]} for row in rows[:10]], "gold.csv")
    answer_by(project, answer_lines(rows, {HAIKU: lambda n: True}))
    project.run()
    correct(project, {1: {"label": wrong(LABELS[1])}, 15: {"label": wrong(LABELS[0])}, 16: {}})
    found = report(project)
    assert (found["gold"], found["gold_from_review"]["rows"]) == (12, 3)
    assert accuracy(found) == 10 / 12
    # The reviewed text is another one than today's: what was said of it is history.
    rows[0]["body"], rows[14]["body"] = "question <1> again", "question <15> again"
    project.rows(rows)
    found = report(project)
    assert (found["gold"], found["gold_from_review"]["rows"]) == (11, 1)
    assert accuracy(found) == 1


class TestReviewsAlone:
    def test_are_gold_where_fields_are_named(self, project: Project) -> None:
        project.pipeline(BASIC + UNGOLD + EVERY)
        rows = gold_rows(20)
        project.rows(rows)
        answer_by(project, answer_lines(rows, {HAIKU: lambda n: n != 7}))
        project.run()
        with pytest.raises(InputError, match="nobody has reviewed a row"):
            run_eval(project)
        correct(project, {row["id"]: {"label": row["category"]} for row in rows[:10]})
        found = report(project)
        assert (found["gold"], found["gold_from_review"]["where"]) == (10, 10)
        assert accuracy(found) == 9 / 10
        assert project.requests_sent() == 20
        assert "10 of 10 gold rows come from review" in run_eval(project, as_json=False, markdown=True).out
        trend = run_eval(project, history=True).value
        assert [(each["n"], each["gold_from_review"]) for each in trend] == [(10, 10)]

    def test_what_a_field_could_not_hold_says_nothing(self, project: Project) -> None:
        project.pipeline(BASIC + UNGOLD + EVERY)
        project.rows(numbered(6))
        project.run()
        correct(project, {1: {}, 2: {}})
        later = BASIC.replace("[output.fields.score]", '[output.fields.tone]\ntype = "string"\n[output.fields.score]')
        project.pipeline(later + UNGOLD.replace("label =", "tone ="))
        with pytest.raises(InputError, match="nobody has reviewed a row"):
            run_eval(project)
        assert project.requests_sent() == 6

    def test_the_file_says_what_is_missing(self, project: Project) -> None:
        with pytest.raises(PipelineError, match="has neither gold nor fields"):
            project.pipeline(BASIC + "[eval]\nerror_usd = 0.1\n")
        project.pipeline(BASIC + UNGOLD.replace("label =", "lable ="))
        project.rows(numbered(3))
        with pytest.raises(PipelineError, match="no output field 'lable'"):
            run_eval(project)


def test_the_sample_is_told_apart(project: Project) -> None:
    project.pipeline(BASIC + UNGOLD + "[review]\nsample = 1.0\n")
    project.rows(numbered(5))
    project.run()
    correct(project, {1: {}, 2: {}})
    printed = run_eval(project)
    assert printed.value["gold_from_review"] | {"sample": 2} == printed.value["gold_from_review"]
    assert "2 of 2 gold rows come from review: 2 of the sample." in printed.talk
    assert "lower the accuracy" not in printed.talk
    assert json.loads(printed.out)["gold"] == 2
