"""Tests of reviews: a person's answer is kept beside the model's, wins over it, and is never lost."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
from commandline import CommandLine
from helpers.reviewed import correct, desk_of
from projects import BASIC, Project, numbered

from batchpipe.engine.gold.agreement import wilson
from batchpipe.engine.quality.review import RowReview, reviewed_values
from batchpipe.schema.typed import ABSENT, FieldForm
from batchpipe.sql.quoting import Sql
from batchpipe.store.queries import query

UNSURE = BASIC.replace("max_tokens = 200", "max_tokens = 200\naccept = 'score > 2'")
EVERY = f'{BASIC}\n[review]\nwhere = "true"\n'
LABELS = ("billing", "bug", "other")


@pytest.fixture
def command(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    line = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    line.provide(project)
    monkeypatch.setenv("USER", "ada")
    for name in ("GITHUB_ACTOR", "GITLAB_USER_LOGIN"):
        monkeypatch.delenv(name, raising=False)
    return line


def another(label: str) -> str:
    return LABELS[(LABELS.index(label) + 1) % 3]


def labels(project: Project) -> dict[int, str]:
    return dict(project.sql("SELECT id, label FROM demo ORDER BY id"))


class TestWhichRows:
    def reasons(self, project: Project, which: str = "open") -> dict[int, list[str]]:
        with desk_of(project, which) as desk:
            return {int(json.loads(row.key)[0]): list(row.chosen) for row in desk.all_rows()}

    def test_those_that_the_ladder_was_not_sure_of(self, project: Project) -> None:
        project.rows(numbered(4))
        project.pipeline(UNSURE)
        assert project.run().rows["review"] == 4
        assert self.reasons(project) == {each: ["ladder"] for each in (1, 2, 3, 4)}
        project.pipeline()
        project.rows(numbered(5))
        project.run()
        assert self.reasons(project) == {each: ["ladder"] for each in (1, 2, 3, 4)}

    def test_a_condition_over_input_and_output(self, project: Project) -> None:
        project.rows(numbered(30))
        project.pipeline(f"{BASIC}\n[review]\nwhere = \"amount = 3 AND label <> 'nothing'\"\n")
        project.run()
        assert self.reasons(project) == {each: ["where"] for each in (3, 13, 23)}

    def test_a_share_by_hash_of_the_key(self, project: Project) -> None:
        project.rows(numbered(2000))
        project.pipeline(f"{BASIC}\n[review]\nsample = 0.02\n")
        project.run()
        first = self.reasons(project)
        assert 20 <= len(first) <= 60
        assert set(map(tuple, first.values())) == {("sample",)}
        assert self.reasons(project) == first

    def test_each_key_keeps_the_number_by_which_it_is_drawn(self) -> None:
        ends = [0, 1, 10**18 - 1, 10**18, 10**36 - 1, 10**36, 2**64 - 1, 2**64, 2**128 - 1]
        numbers = ends + [random.Random(7).getrandbits(128) >> shift for shift in range(128)]
        drawn = {}
        for number in numbers:
            text = hashlib.md5(f"review {number}".encode(), usedforsecurity=False).digest()
            drawn[UUID(bytes=number.to_bytes(16, "little"))] = int.from_bytes(text, "little") % 1_000_000
        with duckdb.connect() as connection:
            connection.execute("CREATE TABLE keys AS SELECT unnest($1::UUID[]) AS key_id", [list(drawn)])
            assert dict(connection.execute(query("sample_draws", keys=Sql("keys"))).fetchall()) == drawn

    def test_the_present_snapshot_is_read_and_the_input_hash_is_not_touched(self, project: Project) -> None:
        rows = numbered(6)
        project.rows(rows)
        project.pipeline(f'{BASIC}\n[review]\nwhere = "amount = 100"\n')
        project.run()
        assert self.reasons(project) == {}
        project.rows([{**row, "amount": 100 if row["id"] < 3 else row["amount"]} for row in rows])
        assert self.reasons(project) == {1: ["where"], 2: ["where"]}
        assert project.plan().due == 0

    def test_rows_that_are_due_for_another_input_and_those_that_left_it_are_not_shown(self, project: Project) -> None:
        project.rows(numbered(3))
        project.pipeline(EVERY)
        project.run()
        project.rows([{**row, "body": "new" if row["id"] == 2 else row["body"]} for row in numbered(3)][1:])
        assert self.reasons(project) == {3: ["where"]}

    def test_a_reviewed_row_is_shown_again_only_when_asked(self, project: Project) -> None:
        project.rows(numbered(3))
        project.pipeline(EVERY)
        project.run()
        correct(project, {2: {}})
        assert sorted(self.reasons(project)) == [1, 3]
        assert sorted(self.reasons(project, "again")) == [1, 2, 3]

    @pytest.mark.parametrize("where", ["nothing = 1", "count(*) > 1", "1"])
    def test_a_condition_that_cannot_be_used(self, project: Project, command: CommandLine, where: str) -> None:
        project.rows(numbered(1))
        project.pipeline(f'{BASIC}\n[review]\nwhere = "{where}"\n')
        found = command("check", "demo")
        assert found.code == 2
        assert "[review] where" in found.out


class TestWhatAPersonSaid:
    @pytest.fixture
    def reviewed(self, project: Project) -> Project:
        """Ten rows; the labels of 1 and 2 are corrected, 3 is accepted."""
        project.rows(numbered(10, german=2))
        project.pipeline(EVERY)
        project.run()
        before = labels(project)
        correct(project, {1: {"label": another(before[1])}, 2: {"label": another(before[2])}, 3: {}})
        self.before, self.after = before, labels(project)
        return project

    def test_it_wins_and_the_models_value_is_kept(self, reviewed: Project) -> None:
        assert {key for key in self.before if self.before[key] != self.after[key]} == {1, 2}
        people = reviewed.sql("SELECT id, _reviewed_by, _review, _current FROM demo ORDER BY id")
        assert people[:4] == [
            (1, "ada", False, True),
            (2, "ada", False, True),
            (3, "ada", False, True),
            (4, None, False, True),
        ]
        facts = reviewed.sql(
            "SELECT key, verdict, before ->> 'label', after ->> 'label', reviewed_by FROM ledger.reviews ORDER BY key"
        )
        assert facts == [
            ('["1"]', "corrected", self.before[1], self.after[1], "ada"),
            ('["2"]', "corrected", self.before[2], self.after[2], "ada"),
            ('["3"]', "accepted", self.before[3], self.before[3], "ada"),
        ]

    def test_it_survives_a_re_run_and_a_changed_prompt_and_schema(self, reviewed: Project) -> None:
        sent = reviewed.requests_sent()
        assert reviewed.run().submitted == 0
        assert labels(reviewed) == self.after
        reviewed.pipeline(EVERY.replace("{{ body }}", "Say: {{ body }}"))
        assert reviewed.plan().rows_by_reason["kept"] == 3
        result = reviewed.run()
        assert (result.submitted, result.rows["kept"], reviewed.requests_sent() - sent) == (7, 3, 7)
        assert {key: labels(reviewed)[key] for key in (1, 2, 3)} == {key: self.after[key] for key in (1, 2, 3)}
        assert reviewed.run().submitted == 0
        reviewed.pipeline(EVERY.replace('"other"]', '"other", "praise"]').replace("{{ body }}", "Say: {{ body }}"))
        plan = reviewed.plan()
        assert (plan.rows_by_reason["kept"], plan.rows_by_reason["schema_changed"]) == (3, 7)
        reviewed.run()
        assert {key: labels(reviewed)[key] for key in (1, 2, 3)} == {key: self.after[key] for key in (1, 2, 3)}
        assert reviewed.sql("SELECT count(*) FROM demo WHERE _reviewed_by = 'ada'") == [(3,)]

    def test_a_bound_that_the_answer_fails_now_asks_for_nothing(self, reviewed: Project) -> None:
        reviewed.pipeline(EVERY + '[output.checks]\nnever = "score > 2"\n')
        plan = reviewed.plan()
        assert (plan.rows_by_reason["kept"], plan.rows_by_reason["check_failed"]) == (3, 7)

    def test_it_is_history_once_the_input_has_changed_and_stands_again_with_the_old_input(
        self, reviewed: Project
    ) -> None:
        rows = numbered(10, german=2)
        reviewed.rows([{**row, "body": "another text" if row["id"] == 1 else row["body"]} for row in rows])
        plan = reviewed.plan()
        assert (plan.rows_by_reason["input_changed"], plan.due) == (1, 1)
        reviewed.run()
        [(label, by)] = reviewed.sql("SELECT label, _reviewed_by FROM demo WHERE id = 1")
        [(said,)] = reviewed.sql(
            "SELECT arg_max(output ->> 'label', seq) FROM ledger.results "
            "WHERE custom_id = (SELECT _custom_id FROM demo WHERE id = 1)"
        )
        assert (label, by) == (said, None)
        assert labels(reviewed)[2] == self.after[2]
        assert reviewed.sql("SELECT count(*) FROM ledger.reviews WHERE key = '[\"1\"]'") == [(1,)]
        reviewed.rows(rows)
        reviewed.run()
        assert reviewed.sql("SELECT label, _reviewed_by FROM demo WHERE id = 1") == [(self.after[1], "ada")]

    def test_a_column_that_no_prompt_uses_changes_nothing(self, reviewed: Project) -> None:
        reviewed.rows([{**row, "amount": 77} for row in numbered(10, german=2)])
        assert reviewed.plan().due == 0
        reviewed.run()
        assert labels(reviewed) == self.after

    def test_redo_answers_again_and_the_person_still_wins(self, reviewed: Project) -> None:
        before = dict(reviewed.sql("SELECT id, _custom_id FROM demo"))
        assert reviewed.run(redo="all").submitted == 10
        assert all(before[key] != custom_id for key, custom_id in reviewed.sql("SELECT id, _custom_id FROM demo"))
        assert {key: labels(reviewed)[key] for key in (1, 2)} == {key: self.after[key] for key in (1, 2)}
        assert reviewed.sql("SELECT count(*) FROM demo WHERE _reviewed_by = 'ada'") == [(3,)]

    def test_redo_under_a_prompt_that_uses_another_column(self, reviewed: Project) -> None:
        reviewed.pipeline(EVERY.replace("{{ body }}", "{{ body }} {{ amount }}"))
        assert reviewed.run(redo="all").submitted == 10
        assert {key: labels(reviewed)[key] for key in (1, 2)} == {key: self.after[key] for key in (1, 2)}

    def test_a_row_that_is_carried_over_keeps_its_review(self, reviewed: Project) -> None:
        reviewed.pipeline(EVERY.replace(" Auf Deutsch.", " Bitte auf Deutsch."))
        plan = reviewed.plan()
        assert (plan.rows_by_reason["kept"], plan.rows_by_reason["carried_over"], plan.due) == (2, 8, 0)
        reviewed.run()
        assert labels(reviewed) == self.after

    def test_the_table_is_rebuilt_with_it(self, reviewed: Project, command: CommandLine) -> None:
        with duckdb.connect(str(reviewed.root / "batchpipe.duckdb")) as connection:
            connection.execute("DROP TABLE demo")
        assert command("recover", "demo", "--from-raw").code == 0
        reviewed.run()
        assert labels(reviewed) == self.after
        reviewed.pipeline(
            EVERY.replace('key = "id"', 'key = "id"\n').replace(
                "[output.fields.label]", '[output]\ninclude = "lang"\n[output.fields.label]'
            )
        )
        reviewed.run()
        assert labels(reviewed) == self.after
        assert reviewed.sql("SELECT count(*) FROM demo WHERE _reviewed_by = 'ada'") == [(3,)]

    def test_the_newest_word_wins_and_the_older_ones_stay(self, reviewed: Project) -> None:
        correct(reviewed, {1: {"label": self.before[1]}}, person="grace")
        assert reviewed.sql("SELECT label, _reviewed_by FROM demo WHERE id = 1") == [(self.before[1], "grace")]
        said = "SELECT verdict, reviewed_by FROM ledger.reviews WHERE key = '[\"1\"]' ORDER BY seq"
        assert reviewed.sql(said) == [("corrected", "ada"), ("accepted", "grace")]

    def test_orders_look_at_what_stands(self, reviewed: Project) -> None:
        wanted = [key for key, label in self.after.items() if label == self.after[1]]
        plan = reviewed.plan(redo=f"label = '{self.after[1]}'")
        assert plan.rows_by_reason["redo"] == len(wanted)

    def test_a_renamed_pipeline_carries_it_over(self, reviewed: Project) -> None:
        (reviewed.root / "pipelines" / "demo.toml").unlink()
        reviewed.pipeline('renamed_from = "demo"\n' + EVERY, name="later")
        reviewed.run("later")
        assert dict(reviewed.sql("SELECT id, label FROM later")) == self.after

    def test_an_answer_that_was_replaced_meanwhile_is_not_reviewed(self, reviewed: Project) -> None:
        with desk_of(reviewed) as desk:
            row = desk.row(0)
            reviewed.run(redo="all")
            assert desk.record([RowReview(number=0, document=row.document, accepted=True)]) == [0]
        assert reviewed.sql("SELECT count(*) FROM ledger.reviews") == [(3,)]

    def test_statements_after_results_run_again(self, reviewed: Project) -> None:
        after = "[output]\nafter = [\"COPY (SELECT * FROM demo) TO 'out.csv'\"]\n[output.fields.label]"
        reviewed.pipeline(EVERY.replace("[output.fields.label]", after))
        reviewed.run()
        correct(reviewed, {4: {"label": another(self.before[4])}})
        reviewed.run()
        with (reviewed.root / "out.csv").open(encoding="utf-8") as file:
            assert {int(row["id"]): row["label"] for row in csv.DictReader(file)}[4] == another(self.before[4])

    def test_the_values_are_at_hand_for_others(self, reviewed: Project) -> None:
        context = reviewed.context()
        work = context.work()
        with context.database.reading(work) as session:
            found = {each["key"]: json.loads(each["after"])["label"] for each in reviewed_values(session, ["demo"])}
        work.close()
        assert found == {f'["{key}"]': self.after[key] for key in (1, 2, 3)}

    def test_show_tells_it(self, reviewed: Project, command: CommandLine) -> None:
        found = command("show", "demo", "1", "--json").value
        [review] = found["reviews"]
        assert (review["verdict"], review["reviewed_by"], review["stands"]) == ("corrected", "ada", True)
        text = command("show", "demo", "1").out
        assert f'corrected by ada: label: "{self.before[1]}" → "{self.after[1]}"' in text

    def test_report_and_status(self, reviewed: Project, command: CommandLine) -> None:
        report = command("report", "demo", "--json").value
        assert (report["reviewed"]["n"], report["reviewed"]["agreed"]) == (3, 1)
        assert "agreed" in command("report", "demo").out
        fields = command("review", "demo", "--report", "--json").value["fields"]
        assert (fields["label"]["agreed"], fields["score"]["agreed"], fields["score"]["n"]) == (1, 3, 3)
        text = command("review", "demo", "--report").out
        assert "people agreed with 1 of 3 answers, 33.3% (95% interval 6.1% to 79.2%)" in text


def test_status_and_run_count_the_rows_that_are_left_to_review(project: Project, command: CommandLine) -> None:
    project.rows(numbered(4))
    project.pipeline(UNSURE)
    project.run()
    assert command("status", "demo", "--json").value["rows"]["review"] == 4
    correct(project, {1: {}, 2: {"label": "other"}})
    assert command("status", "demo", "--json").value["rows"]["review"] == 2
    assert project.run().rows["review"] == 2
    assert project.sql("SELECT count(*) FROM demo WHERE _review") == [(2,)]


class TestWhatIsTaken:
    def errors(self, project: Project, *changes: Mapping[str, Any]) -> list[str]:
        with desk_of(project) as desk:
            row = desk.row(0)
            return [error for _, error in desk.validate([(0, {**row.document, **each}) for each in changes])]

    def test_the_full_schema_casts_and_checks_hold(self, project: Project) -> None:
        text = EVERY.replace('type = "number"', 'type = "number"\ncolumn = "DECIMAL(3,2)"').replace(
            "[[models]]", "[output.checks]\nfair = \"amount < 5 OR label <> 'other'\"\n[[models]]"
        )
        project.rows([{**row, "amount": 9} for row in numbered(9)])
        project.pipeline(text)
        project.run()
        found = self.errors(
            project,
            {"label": "none"},
            {"score": 3},
            {"score": "much"},
            {"label": "other"},
            {"more": 1},
            {"label": "bug"},
        )
        assert "label" in found[0]
        assert "score" in found[1]
        assert "score" in found[2]
        assert found[3].startswith("check fair does not hold")
        assert "more" in found[4]
        assert found[5] == ""

    def test_a_spelling_is_set(self, project: Project) -> None:
        project.rows(numbered(1))
        project.pipeline(EVERY)
        project.run()
        with desk_of(project) as desk:
            [(document, _)] = desk.validate([(0, {"label": "BUG", "score": 0.5})])
        assert document == {"label": "bug", "score": 0.5}


class TestWhatIsTyped:
    FORM = FieldForm(name="x", types=("string",), allowed=None, optional=False)

    @pytest.mark.parametrize(
        ("types", "allowed", "optional", "text", "value"),
        [
            (("string",), None, False, "12", "12"),
            (("string",), None, False, "", ""),
            (("string",), None, True, "", ABSENT),
            (("string", "null"), None, False, "", None),
            (("number",), None, False, "0.50", 0.5),
            (("integer",), None, False, "7", 7),
            (("integer",), None, False, "7.5", "7.5"),
            (("number",), None, False, "NaN", "NaN"),
            (("boolean",), (True, False), False, "TRUE", True),
            (("string",), ("Bug", "other"), False, "bug", "Bug"),
            (("string",), ("a", "A"), False, "a", "a"),
            ((), (1, "one"), False, "1", 1),
            (("array",), None, False, '["a", 1]', ["a", 1]),
            (("string", "integer"), None, False, "5", 5),
            (("string", "integer"), None, False, '"5"', "5"),
            ((), None, False, "free", "free"),
        ],
    )
    def test_text_means_a_value(
        self, types: tuple[str, ...], allowed: tuple[Any, ...] | None, optional: bool, text: str, value: Any
    ) -> None:
        form = FieldForm(name="x", types=types, allowed=allowed, optional=optional)
        found = form.value(text)
        assert (type(found), found) == (type(value), value)

    @pytest.mark.parametrize("types", [("string",), ("string", "integer"), ("number",), ("array",), ()])
    def test_what_is_shown_means_what_it_shows(self, types: tuple[str, ...]) -> None:
        form = FieldForm(name="x", types=types, allowed=None, optional=False)
        words = ["5", "null", "true", "plain", '"quoted"', "[1]", "\n", "=1", "'"]
        values: list[Any] = [*words, *([5, 5.5, ["a"], {"a": None}, True] if types == () else [])]
        for value in values:
            meant = -1.5 if types == ("number",) else [value] if types == ("array",) else value
            assert form.value(form.text(meant)) == meant


class TestAgreement:
    def test_the_interval_is_wilsons(self) -> None:
        """The bounds are where the statistic of the score test equals the quantile; bisection finds them here."""
        generator = random.Random(5)
        for _ in range(50):
            n = generator.randint(1, 5000)
            successes = generator.randint(0, n)
            for bound, (low, high) in zip(
                wilson(successes, n), ((0.0, successes / n), (successes / n, 1.0)), strict=True
            ):
                assert bound == pytest.approx(self.solved(successes, n, low, high), abs=1e-9)

    def solved(self, successes: int, n: int, low: float, high: float) -> float:
        share, quantile = successes / n, 1.959963984540054
        outside_is_low = high == share

        def outside(p: float) -> bool:
            return (share - p) ** 2 > quantile**2 * p * (1 - p) / n

        for _ in range(200):
            middle = (low + high) / 2
            if outside(middle) == outside_is_low:
                low = middle
            else:
                high = middle
        return (low + high) / 2


Edit = Callable[[list[dict[str, str]]], None]
TEXTS = [
    "=1+1",
    "+49 30",
    "-5 apples",
    "@SUM(A1)",
    "'quoted",
    "'=already",
    "''=twice",
    "\tx",
    "a, b; c",
    'say "hi"',
    "two\nlines",
]
NOTES = EVERY.replace("[[models]]", '[output.fields.note]\ntype = "string"\noptional = true\n[[models]]')


def edit(path: Path, change: Edit, *, delimiter: str = ",", encoding: str = "utf-8-sig") -> None:
    """Open a file as a spreadsheet does, change cells, save it."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


class TestSpreadsheet:
    @pytest.fixture
    def sheet(self, project: Project, command: CommandLine) -> Path:
        """Eleven exported rows whose inputs are formulas and the like."""
        project.rows([{"id": n, "body": text, "lang": "en", "amount": n} for n, text in enumerate(TEXTS, start=1)])
        project.pipeline(NOTES)
        project.run()
        self.before = dict(project.sql("SELECT id, {'label': label, 'score': score, 'note': note} FROM demo"))
        found = command("review", "demo", "--export", "review.csv")
        assert (found.code, found.out) == (0, "")
        assert "11 rows to review.csv" in found.talk
        return project.root / "review.csv"

    def values(self, project: Project) -> dict[int, dict[str, Any]]:
        return dict(project.sql("SELECT id, {'label': label, 'score': score, 'note': note} FROM demo"))

    def test_no_cell_is_a_formula(self, sheet: Path) -> None:
        text = sheet.read_text(encoding="utf-8-sig")
        cells = [cell for row in csv.reader(text.splitlines(keepends=True)) for cell in row]
        assert [cell for cell in cells if cell[:1] in ("=", "+", "@", "\t", "\r")] == []
        assert sheet.read_bytes().startswith(b"\xef\xbb\xbf")

    def test_unedited_it_says_nothing(self, sheet: Path, project: Project, command: CommandLine) -> None:
        found = command("review", "demo", "--import", "review.csv", "--json")
        assert found.value == {"pipeline": "demo", "accepted": 0, "corrected": 0, "without_a_word": 11}
        assert project.sql("SELECT count(*) FROM ledger.reviews") == [(0,)]
        assert self.values(project) == self.before

    @pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8-sig"), (";", "utf-8"), ("\t", "utf-8")])
    def test_what_is_written_comes_back(
        self, sheet: Path, project: Project, command: CommandLine, delimiter: str, encoding: str
    ) -> None:
        def change(rows: list[dict[str, str]]) -> None:
            for number, row in enumerate(rows):
                row["note"] = "'" + TEXTS[number] if number in (0, 1, 2, 3, 5, 6, 7) else TEXTS[number]
            rows[0]["_verdict"] = "OK"
            rows[1]["score"] = "0.250"
            rows.reverse()

        edit(sheet, change, delimiter=delimiter, encoding=encoding)
        found = command("review", "demo", "--import", "review.csv")
        assert found.code == 0, found.talk
        assert "0 accepted, 11 corrected, 0 without a verdict" in found.talk
        after = self.values(project)
        assert [after[number]["note"] for number in range(1, 12)] == TEXTS
        assert after[2]["score"] == 0.25
        assert {key: value["label"] for key, value in after.items()} == {
            key: value["label"] for key, value in self.before.items()
        }
        again = command("review", "demo", "--export", "again.csv", "--again")
        assert again.code == 0
        with (project.root / "again.csv").open(encoding="utf-8-sig", newline="") as file:
            back = {row["id"]: row for row in csv.DictReader(file)}
        assert back["1"]["note"] == "'=1+1"
        assert back["6"]["note"] == "''=already"
        assert command("review", "demo", "--import", "again.csv", "--json").value["without_a_word"] == 11
        assert self.values(project) == after

    def test_a_formula_that_the_spreadsheet_has_freed_is_the_same_value(
        self, sheet: Path, project: Project, command: CommandLine
    ) -> None:
        correct(project, {1: {"note": "=1+1"}})
        assert command("review", "demo", "--export", "review.csv", "--again", "--force").code == 0
        edit(sheet, lambda rows: rows[0].update(note="=1+1"))
        assert command("review", "demo", "--import", "review.csv", "--json").value["without_a_word"] == 11

    def test_ok_accepts_and_an_edit_corrects(self, sheet: Path, project: Project, command: CommandLine) -> None:
        def change(rows: list[dict[str, str]]) -> None:
            rows[0]["_verdict"] = "ok"
            rows[1]["label"] = another(rows[1]["label"]).upper()
            rows[2]["_verdict"] = "skip"

        edit(sheet, change)
        found = command("review", "demo", "--import", "review.csv", "--json").value
        assert found == {"pipeline": "demo", "accepted": 1, "corrected": 1, "without_a_word": 9}
        assert project.sql("SELECT verdict FROM ledger.reviews ORDER BY key") == [("accepted",), ("corrected",)]
        assert self.values(project)[2]["label"] == another(self.before[2]["label"])

    def test_every_problem_is_named_with_its_line_and_nothing_is_recorded(
        self, sheet: Path, project: Project, command: CommandLine
    ) -> None:
        def change(rows: list[dict[str, str]]) -> None:
            rows[0]["_verdict"] = "ok"
            rows[1]["label"] = "none of them"
            rows[2]["score"] = "7"
            rows[3]["_verdict"] = "perhaps"
            rows[4]["_answer"] = "0123456789abcdef"
            rows[5]["id"] = "999"
            rows.append(dict(rows[0]))

        edit(sheet, change)
        found = command("review", "demo", "--import", "review.csv")
        assert found.code == 2
        places = [line.split(":")[1] for line in found.talk.splitlines() if line.startswith("review.csv:")]
        assert places == ["3", "4", "5", "6", "7", "14"]  # the row before the last stands on two lines
        for words in (
            "label:",
            "score: 7 is more than 1",
            "'perhaps'",
            "is not the one that was exported",
            "'999'",
            "is also in line 2",
        ):
            assert words in found.talk
        assert project.sql("SELECT count(*) FROM ledger.reviews") == [(0,)]
        assert self.values(project) == self.before

    def test_rows_whose_answer_or_input_changed_are_refused(
        self, sheet: Path, project: Project, command: CommandLine
    ) -> None:
        rows = [{"id": n, "body": text, "lang": "en", "amount": n} for n, text in enumerate(TEXTS, start=1)]
        correct(project, {2: {}})
        project.rows([{**row, "body": "new" if row["id"] == 3 else row["body"]} for row in rows])

        def approve(rows: list[dict[str, str]]) -> None:
            for row in rows:
                row["_verdict"] = "ok"

        edit(sheet, approve)
        found = command("review", "demo", "--import", "review.csv")
        assert found.code == 2
        assert "was reviewed by ada since the export" in found.talk
        assert "has changed: it is due again" in found.talk
        project.run()
        found = command("review", "demo", "--import", "review.csv")
        assert "the answer of the row '3' is not the one that was exported" in found.talk
        assert project.sql("SELECT count(*) FROM ledger.reviews") == [(1,)]

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "lacks the columns"),
            (b"id,label,score,note,_verdict,_answer\n1,b\rug,1,,,x\n", "a cell has a line break and no quotes"),
            (b"id,label,label,score,note,_verdict,_answer\n", "has the column label twice"),
            (b"id,label,score,note,_verdict,_answer\r1,bug,1,,,x\r", ":2: the answer of the row '1' is not"),
            (b"id,label\n1,bug\n", "lacks the columns score, note, _verdict, _answer"),
            ("id,\u00e4".encode("latin-1"), "not UTF-8"),
        ],
    )
    def test_files_that_are_none(
        self, sheet: Path, project: Project, command: CommandLine, content: bytes, words: str
    ) -> None:
        sheet.write_bytes(content)
        found = command("review", "demo", "--import", "review.csv")
        assert (found.code, words in found.talk) == (2, True), found.talk

    def test_where_it_is_written(self, sheet: Path, project: Project, command: CommandLine) -> None:
        for arguments, words in (
            (["--export", "review.csv"], "exists already"),
            (["--export", "review.xlsx"], "does not end in .csv"),
            (["--export", "none/review.csv"], "cannot be written there"),
            (["--import", "none.csv"], "cannot be read"),
            (["--import", "review.csv", "--report"], "exclude one another"),
        ):
            found = command("review", "demo", *arguments)
            assert (found.code, words in found.talk) == (2, True), found.talk
        assert command("review", "demo", "--export", "review.csv", "--force").code == 0
