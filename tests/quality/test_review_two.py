"""Tests of two people who review one row, and of the columns that a reviewer sees."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from commandline import CommandLine
from helpers.reviewed import correct, desk_of
from projects import BASIC, Project, numbered

from batchpipe.commands.review.screen import Progress, RowScreen, said_meanwhile, screen
from batchpipe.commands.review.walk import Walk
from batchpipe.engine.gold.agreement import read_agreement
from batchpipe.engine.quality.review import RowReview
from batchpipe.engine.quality.withdrawals import withdraw

TWO = f'{BASIC}\n[review]\nwhere = "true"\n'


class Keys:
    """A terminal whose person types `keys`; before each of them `before` is called with the screen."""

    def __init__(self, keys: str, before: Callable[[int, str], None]) -> None:
        self.keys, self.before, self.number = keys, before, 0
        self.size = os.terminal_size((120, 40))
        self.shown = ""

    def draw(self, lines: list[str]) -> None:
        self.shown = "\n".join(lines)

    def key(self) -> str:
        self.before(self.number, self.shown)
        self.number += 1
        return self.keys[self.number - 1]


def other_label(project: Project, key: int) -> tuple[str, str]:
    [(label,)] = project.sql(f"SELECT label FROM demo WHERE id = {key}")
    return label, next(each for each in ("billing", "bug", "other") if each != label)


def test_the_second_is_told_what_the_first_said_and_may_overrule(project: Project) -> None:
    project.pipeline(TWO)
    project.rows(numbered(2))
    project.run()
    label, changed = other_label(project, 1)
    screens: dict[int, str] = {}

    def meanwhile(number: int, shown: str) -> None:
        screens[number] = shown
        if number == 1:
            correct(project, {1: {"label": changed}}, person="bo")

    with desk_of(project, person="ada") as desk:
        terminal = Keys("iaobaa", meanwhile)
        Walk(desk=desk, terminal=terminal, progress=Progress(pipeline="demo", rows=desk.rows)).walk()  # type: ignore[arg-type]
    # Columns that the prompt does not use are folded, until [i] shows them.
    assert "1 more column: amount" in screens[0]
    assert "[i] all columns" in screens[0]
    assert "more column" not in screens[1]
    assert f"bo corrected it (label → {changed}) meanwhile: [o] overrule it" in " ".join(screens[2].split())
    found = project.sql("SELECT key, verdict, after ->> 'label', reviewed_by FROM ledger.reviews ORDER BY seq")
    # One's own earlier review of the session needs no word.
    assert found == [
        ('["1"]', "corrected", changed, "bo"),
        ('["1"]', "accepted", label, "ada"),
        ('["1"]', "accepted", label, "ada"),
        ('["2"]', "accepted", other_label(project, 2)[0], "ada"),
    ]
    assert project.sql("SELECT label, _reviewed_by FROM demo WHERE id = 1") == [(label, "ada")]


def test_a_sheet_says_what_was_said_and_overrules_on_purpose(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    call.provide(project)
    project.pipeline(TWO + 'show = ["amount"]\n')
    project.rows(numbered(2))
    project.run()
    label, changed = other_label(project, 1)
    assert call("review", "demo", "--export", "review.csv").code == 0
    assert sheet_of(project.root / "review.csv")[0].keys() >= {"input.body", "input.lang", "input.amount"}
    correct(project, {1: {"label": changed}}, person="bo")
    write_sheet(project.root / "review.csv", {"1": "ok"})
    ended = call("review", "demo", "--import", "review.csv")
    assert ended.code == 2
    assert "was reviewed by bo since the export" in ended.talk
    assert f"the review corrected it (label → {changed})" in ended.talk
    assert "write overrule under _verdict" in ended.talk
    write_sheet(project.root / "review.csv", {"1": "overrule"})
    ended = call("review", "demo", "--import", "review.csv")
    assert ended.code == 0, ended.talk
    assert project.sql("SELECT label FROM demo WHERE id = 1") == [(label,)]
    # A column that does not exist is named; without `show` the sheet has what the prompt uses.
    project.pipeline(TWO + 'show = ["amuont"]\n')
    ended = call("check", "demo")
    assert (ended.code, "'amount'" in ended.out) == (2, True)
    project.pipeline(TWO)
    assert call("review", "demo", "--again", "--export", "again.csv").code == 0
    assert "input.amount" not in sheet_of(project.root / "again.csv")[0]


def sheet_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write_sheet(path: Path, verdicts: dict[str, str]) -> None:
    rows = [{**row, "_verdict": verdicts.get(row["id"], "")} for row in sheet_of(path)]
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_two_who_record_at_once_are_not_mixed(project: Project) -> None:
    project.pipeline(TWO)
    project.rows(numbered(1))
    project.run()
    with desk_of(project, person="ada") as first, desk_of(project, person="bo") as second:
        row = first.row(0)
        review = RowReview(number=0, document=row.document, accepted=True)
        assert first.record([review]) == []
        assert second.record([review]) == [0]
        assert (second.meanwhile[0].reviewed_by, project.sql("SELECT count(*) FROM ledger.reviews")) == ("ada", [(1,)])
        second.overrule(0)
        assert second.record([review]) == []
        # The first has not seen that, and is told in turn.
        assert first.record([review]) == [0]
        assert first.meanwhile[0].reviewed_by == "bo"
        shown = RowScreen(row=row, draft=row.document, columns=first.shown_columns)
        assert screen(shown, Progress(pipeline="demo", rows=1), first.forms, os.terminal_size((80, 30)))


def test_a_word_that_is_taken_back_leaves_the_one_before_it(project: Project) -> None:
    project.pipeline(TWO)
    project.rows(numbered(2))
    project.run()
    label, changed = other_label(project, 1)
    correct(project, {1: {"label": changed}}, person="bo")
    correct(project, {1: {"label": label}}, person="ada")
    shown = "SELECT label, _reviewed_by FROM demo WHERE id = 1"
    assert project.sql(shown) == [(label, "ada")]
    with desk_of(project, person="bo") as desk:
        take_back = partial(withdraw, desk.context, desk.work, desk.resolved, ['["1"]', '["2"]'])
        assert take_back("bo") == {}
        assert [each.document["label"] for each in take_back("ada").values()] == [label]
        assert project.sql(shown) == [(changed, "bo")]
        assert list(take_back("bo")) == ['["1"]']
        assert take_back("bo") == {}
    assert project.sql(shown) == [(label, None)]
    verdicts = project.sql("SELECT verdict, reviewed_by, withdraws IS NOT NULL FROM ledger.reviews ORDER BY seq")
    assert verdicts == [
        ("corrected", "bo", False),
        ("accepted", "ada", False),
        ("withdrawn", "ada", True),
        ("withdrawn", "bo", True),
    ]
    with desk_of(project) as desk:
        # The row is to be reviewed again, and the words of before are nothing new to who opens the desk now.
        assert [row.key for row in desk.all_rows()] == ['["1"]', '["2"]']
        assert desk.record([RowReview(number=0, document=desk.row(0).document, accepted=True)]) == []
    context = project.context()
    with closing(context), closing(context.work()) as work, context.database.reading(work) as session:
        assert read_agreement(session, ["demo"]).total.n == 1


def test_who_reviews_a_row_is_told_that_a_word_was_taken_back_meanwhile(project: Project) -> None:
    project.pipeline(TWO)
    project.rows(numbered(1))
    project.run()
    _, changed = other_label(project, 1)
    with desk_of(project, person="ada") as desk:
        correct(project, {1: {"label": changed}}, person="bo")
        with desk_of(project, "again", person="bo") as other:
            assert list(withdraw(other.context, other.work, other.resolved, ['["1"]'], "bo")) == ['["1"]']
        row = desk.row(0)
        review = RowReview(number=0, document=row.document, accepted=True, reviewed_by="cy")
        assert desk.record([review]) == [0]
        assert said_meanwhile(desk.meanwhile[0], row.answer) == "bo took back a review of it meanwhile"
        desk.saw(0, desk.meanwhile[0].seq, "cy")
        assert desk.record([review]) == []
    assert project.sql("SELECT _reviewed_by FROM demo") == [("cy",)]
