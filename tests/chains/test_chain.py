"""Pipelines that read each other, through the command line and the built-in emulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commandline import CommandLine, Typed
from helpers.chains import CLASSIFY, EXTRACT, SUMMARY, TICKETS, write_chain, write_tickets


class Chained:
    """The command line in a project of a chain, with the emulator and its answers."""

    def __init__(self, root: Path, line: CommandLine) -> None:
        self.root = root
        self.line = line

    def __call__(self, *arguments: str) -> Typed:
        answers = ("--answers", str(self.root / "answers.jsonl"))
        return self.line("-C", str(self.root), *arguments, "--emulator", *answers)

    def run(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """Run, and return the objects by pipeline."""
        found = json.loads(self("run", *arguments, "--json").out)
        return {each["pipeline"]: each for each in (found if isinstance(found, list) else [found])}

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        path = self.root / ".batchpipe" / "emulator" / "batchpipe.duckdb"
        with duckdb.connect(str(path), read_only=True) as connection:
            return connection.execute(statement).fetchall()


@pytest.fixture
def chained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Chained:
    monkeypatch.setenv("BATCHPIPE_POLL_INTERVAL", "0.02")
    write_chain(tmp_path)
    return Chained(tmp_path, CommandLine(monkeypatch=monkeypatch, capsys=capsys))


def sent(found: dict[str, dict[str, Any]]) -> dict[str, int]:
    return {name: each["submitted"] for name, each in found.items()}


def test_a_chain_from_nothing_then_one_edit_and_what_left(chained: Chained) -> None:
    before = json.loads(chained("plan", "summary", "extract", "classify", "--json").out)
    assert [each["pipeline"] for each in before] == ["classify", "extract", "summary"]
    first, second, third = before
    assert (first["due"], "waits_for" in first) == (4, False)
    for each, upstream in ((second, "classify"), (third, "extract")):
        assert each["waits_for"] == [upstream]
        counts = [each["due"], each["requests"], each["batches"], *each["rows"].values()]
        assert set(counts) == {None}
        assert each["estimate"]["due"] >= 1
        assert each["estimate"]["cost_usd"] > 0
    # `extract` alone never reads the source of `classify`, which was never run.
    alone = chained("run", "extract", "--json")
    assert alone.code == 6
    assert alone.value["waits_for"] == ["classify"]
    assert "it was never run" in alone.value["gate"]
    assert "--with-upstream" in chained("run", "extract").out

    assert sent(chained.run("--all")) == {"classify": 4, "extract": 3, "summary": 2}
    assert sent(chained.run("summary", "--with-upstream")) == {"classify": 0, "extract": 0, "summary": 0}
    assert sent(chained.run("summary")) == {"summary": 0}

    # One row is edited: each level sends exactly what follows from it, and the plan says so beforehand.
    edited = [*TICKETS[:3], {**TICKETS[3], "body": "refund three, please"}]
    write_tickets(chained.root, edited)
    planned = json.loads(chained("plan", "--all", "--json").out)
    assert [(each["due"], each["estimate"].get("due")) for each in planned] == [(1, None), (None, 1), (None, 1)]
    assert sent(chained.run("--all")) == {"classify": 1, "extract": 1, "summary": 1}

    # A deleted row, and one that is answered no more, never reach what reads the table; `all_rows` still has them.
    write_tickets(chained.root, [*edited[1:3], {**edited[3], "body": "bad"}])
    (chained.root / "pipelines" / "every.toml").write_text(
        SUMMARY.replace("FROM main.Extract GROUP", "FROM all_rows('main.\\\"EXTRACT\\\"') GROUP"), encoding="utf-8"
    )
    found = chained.run("--all")
    assert (found["classify"]["status"], found["classify"]["rows"]["failed"]) == ("failed_rows", 1)
    assert found["summary"]["rows"] | {"input": 1, "removed": 1} == found["summary"]["rows"]
    assert chained.sql("SELECT customer FROM summary WHERE _current") == [("ann",)]
    assert chained.sql("SELECT count(*) FROM every") == [(2,)]
    shown = json.loads(chained("show", "summary", "ann", "--json").out)
    assert shown["made_of"] == [{"pipeline": "extract", "rows": 1, "keys": [["3"]]}]
    again = chained("run", "extract")
    assert again.code == 0
    assert "classify has no answer for 1 row, which is not in its table: 4" in again.talk


def test_show_names_the_row_whose_list_has_the_item(chained: Chained) -> None:
    words = (
        '[output.fields.words]\ntype = "array"\nitems = { type = "string" }\n[output.rows]\nwords = "ticket_words"\n'
    )
    write_chain(chained.root, classify=CLASSIFY.replace("[[models]]", f"{words}[[models]]", 1))
    for table in ("summary", "extract"):
        (chained.root / "pipelines" / f"{table}.toml").unlink()
    (chained.root / "answers.jsonl").unlink()
    tickets, items = "* FROM read_csv('tickets.csv', all_varchar = true)", "id || '/' || _index AS id, id AS of"
    reader = CLASSIFY.replace(tickets, f"{items} FROM ticket_words")
    (chained.root / "pipelines" / "reader.toml").write_text(
        reader.replace('include = ["customer"]\n', "").replace("Label: {{ body }}", "Read: {{ of }}"), encoding="utf-8"
    )
    chained.line("-C", str(chained.root), "run", "--all", "--emulator")
    found = chained.line("-C", str(chained.root), "show", "reader", "2/1", "--json", "--emulator").value
    assert found["made_of"] == [{"pipeline": "classify", "rows": 1, "keys": [["2"]]}]


def test_a_pipeline_waits_for_what_is_in_flight_limited_or_paused(chained: Chained) -> None:
    found = chained.run("--all", "--no-wait")
    assert [each["status"] for each in found.values()] == ["pending"] * 3
    assert [each.get("waits_for") for each in found.values()] == [None, ["classify"], ["extract"]]
    waiting = chained("run", "extract", "--json")
    assert (waiting.code, waiting.value["waits_for"], waiting.value["gate"]) == (5, ["classify"], None)
    alone = chained("run", "extract", "--pending-ok")
    assert alone.code == 0
    assert "To collect them: batchpipe run classify" in alone.out
    assert "or both: batchpipe run extract --with-upstream" in alone.out
    # What is paused is collected by nobody.
    chained("cancel", "classify")
    paused = chained("run", "extract")
    assert paused.code == 6
    assert "in flight, and it is paused by `batchpipe cancel`" in paused.out
    assert "To go on: batchpipe run classify --resume" in paused.out
    assert chained("run", "classify", "--resume").code == 0

    write_tickets(
        chained.root,
        [*TICKETS, {"id": "5", "customer": "dan", "body": "refund"}, {**TICKETS[0], "id": "6", "body": "refund six"}],
    )
    assert sent(chained.run("extract", "--with-upstream", "--limit", "1")) == {"classify": 2, "extract": 1}
    limited = chained("run", "classify", "extract", "--redo", "all", "--limit", "1", "--json")
    assert limited.code == 6
    assert "limited by --limit" in limited.value[1]["gate"]
    selected = chained("run", "classify", "extract", "--where", "id < '3'", "--json")
    assert "limited by --where" in selected.value[1]["gate"]
    chained("cancel", "classify")
    assert "paused" in chained("run", "extract").out
    chained("run", "classify", "--resume")
    assert chained("run", "extract").code == 0
    # An edited file is due, whether or not a run has looked at its rows.
    path = chained.root / "pipelines" / "classify.toml"
    path.write_text(CLASSIFY.replace("Label:", "Label this:"), encoding="utf-8")
    assert "changed since its last run" in chained("run", "extract").out
    path.write_text("nothing", encoding="utf-8")
    assert "its file has mistakes" in chained("run", "extract").out
    # What takes what there is waits for nothing.
    (chained.root / "pipelines" / "extract.toml").write_text(
        EXTRACT.replace("key =", 'upstream = "any"\nkey =', 1), encoding="utf-8"
    )
    assert chained("run", "extract").code == 0


def test_files_are_checked_on_an_empty_database_and_circles_are_named(chained: Chained) -> None:
    hidden = SUMMARY.replace("main.Extract GROUP", "query_table('extract') GROUP")
    seeded = EXTRACT.replace("body FROM classify", "body FROM batchpipe.main.CLASSIFY")
    write_chain(chained.root, hidden=hidden, seeded=seeded)
    for arguments in (("--all",), ("summary", "--offline")):
        checked = chained("check", *arguments)
        assert checked.code == 0, checked.out
    found = json.loads(chained("check", "hidden", "--json").out)
    assert [each["code"] for each in found["warnings"]] == ["P015"]
    named = hidden.replace("key =", 'after_pipelines = ["extract"]\nkey =', 1)
    write_chain(chained.root, hidden=named, seeded=seeded)
    assert json.loads(chained("check", "hidden", "--json").out)["warnings"] == []
    graph = {each["pipeline"]: each["reads"] for each in json.loads(chained("graph", "--json").out)}
    assert graph == {
        "classify": [],
        "extract": ["classify"],
        "summary": ["extract"],
        "hidden": ["extract"],
        "seeded": ["classify"],
    }
    assert "summary   reads extract" in chained("graph").out
    svg = chained("graph", "--svg").out
    assert svg.startswith("<svg")
    assert svg.count("arrow") == 4
    write_chain(chained.root, hidden=named.replace('["extract"]', '["extrakt"]'))
    wrong = chained("check", "hidden")
    assert (wrong.code, "Did you mean 'extract'?" in wrong.out) == (2, True)
    (chained.root / "pipelines" / "hidden.toml").unlink()
    (chained.root / "pipelines" / "seeded.toml").unlink()

    where = "WHERE customer NOT IN (FROM summary SELECT customer)"
    circle = CLASSIFY.replace('all_varchar = true)"', f'all_varchar = true) {where}"')
    write_chain(chained.root, classify=circle)
    for command in ("run", "plan"):
        refused = chained(command, "--all")
        assert refused.code == 2
        assert "in a circle: classify -> summary -> extract -> classify" in refused.talk
        assert "classify reads summary in [input] query; summary reads extract in [input] query" in refused.talk
    assert chained("check", "--all").out.count("in a circle") == 3
    examples = '[prompt.queries]\nseen = "SELECT digest FROM summary"\n[output]'
    write_chain(chained.root, classify=CLASSIFY.replace("[output]", examples, 1).replace("{{ body }}", "{{ seen }}"))
    assert "classify reads summary in [prompt.queries] seen; " in chained("graph").talk
    write_chain(chained.root, extract=EXTRACT.replace("FROM classify", "FROM classified"))
    nobody = chained("check", "extract")
    assert (nobody.code, "classified" in nobody.out) == (2, True)


def test_keys_that_come_from_upstream_are_no_error_before_it_is_answered(chained: Chained) -> None:
    outer = EXTRACT.replace(
        "SELECT id, customer, body FROM classify JOIN", "SELECT c.id, c.customer, body FROM classify c FULL JOIN"
    )
    write_chain(chained.root, extract=outer.replace("WHERE label = 'refund'", ""))
    alone, everything = chained("plan", "extract", "--json"), chained("plan", "--all", "--json")
    assert (alone.code, alone.value["requests"], alone.value["waits_for"]) == (6, None, ["classify"])
    assert (everything.code, everything.value[1]["estimate"]["input"]) == (0, 4)
    # Where nobody is waited for it is an error as ever.
    chained("run", "classify")
    assert chained("plan", "extract").code == 0
    write_chain(chained.root, extract=outer.replace("c.id, c.customer", "NULL::VARCHAR AS id, c.customer"))
    refused = chained("plan", "extract")
    assert (refused.code, "have no id" in refused.talk) == (2, True)


def test_the_time_is_over_before_upstream_has_ended(chained: Chained) -> None:
    chained.line.monkeypatch.setenv("BATCHPIPE_EMULATOR_DELAY", "600")
    waiting = chained("run", "--all", "--wait", "1s", "--json")
    assert waiting.code == 5, waiting.out
    states = {each["pipeline"]: (each["status"], each.get("waits_for")) for each in waiting.value}
    assert states["classify"] == ("pending", None)
    assert states["extract"] == ("pending", ["classify"])
    assert states["summary"] == ("pending", ["extract"])


def test_a_budget_of_the_project_bounds_all_pipelines_together(chained: Chained) -> None:
    (chained.root / "batchpipe.toml").write_text("[budget]\nmax_usd = 0.0005\n", encoding="utf-8")
    alone = chained("run", "classify", "--json").value
    assert alone["status"] == "gate"
    assert "batchpipe.toml [budget] max_usd" in alone["gate"]
    assert alone["submitted"] == 0
    (chained.root / "batchpipe.toml").write_text("[budget]\nmax_usd = 1\n", encoding="utf-8")
    assert chained("run", "classify", "--json").value["status"] == "done"
    (chained.root / "batchpipe.toml").write_text("[budget]\nmax_usdd = 1\n", encoding="utf-8")
    assert chained("plan", "--all").code == 2


@pytest.mark.parametrize(
    ("rows", "read"),
    [
        ("classify", 3),
        ("batchpipe.main.Classify", 3),
        ("all_rows('Classify')", 4),
        ("extract JOIN classify USING (id)", 2),
    ],
)
def test_what_is_not_current_never_leaves_the_table_of_a_pipeline_without_a_file(
    chained: Chained, rows: str, read: int
) -> None:
    chained.run("--all")
    write_tickets(chained.root, TICKETS[1:])
    chained.run("classify", "extract")
    assert chained.sql("SELECT count(*), count(*) FILTER (WHERE _current) FROM classify") == [(4, 3)]
    (chained.root / "pipelines" / "classify.toml").unlink()
    (chained.root / "pipelines" / "reader.toml").write_text(
        f"""
[input]
query = "SELECT id FROM {rows}"
key = "id"
[prompt]
user_text = "Read: {{{{ id }}}}"
[output.fields.word]
type = "string"
[[models]]
model = "claude-haiku-4-5"
max_tokens = 50
""",
        encoding="utf-8",
    )
    assert json.loads(chained("plan", "reader", "--json").out)["due"] == read


@pytest.mark.parametrize(
    ("rows", "read"),
    [
        ("seen", 3),
        ("renamed", 3),
        ("batchpipe.mart.qualified", 3),
        ("seen JOIN classify USING (id)", 3),
        ("plain", 1),
        ("(SELECT word AS id FROM reader_words)", 0),
    ],
)
def test_a_view_of_the_database_shows_the_current_rows_of_what_it_reads(chained: Chained, rows: str, read: int) -> None:
    chained.run("classify")
    write_tickets(chained.root, TICKETS[1:])
    chained.run("classify")
    for table in ("summary", "extract"):
        (chained.root / "pipelines" / f"{table}.toml").unlink()
    with duckdb.connect(str(chained.root / ".batchpipe" / "emulator" / "batchpipe.duckdb")) as database:
        database.execute("CREATE SCHEMA mart")
        database.execute("CREATE VIEW seen AS SELECT * FROM classify")
        database.execute("CREATE VIEW renamed (id, word) AS SELECT id, label FROM seen")
        database.execute("CREATE VIEW mart.qualified AS SELECT * FROM batchpipe.main.renamed")
        database.execute("CREATE VIEW plain AS SELECT '7' AS id")
        database.execute("CREATE VIEW reader_words AS SELECT 'a' AS word WHERE false")
    (chained.root / "pipelines" / "reader.toml").write_text(
        CLASSIFY.replace("SELECT * FROM read_csv('tickets.csv', all_varchar = true)", f"SELECT id FROM {rows}")
        .replace('include = ["customer"]\n', "")
        .replace("Label: {{ body }}", "Read: {{ id }}"),
        encoding="utf-8",
    )
    planned = chained("plan", "reader", "--json")
    assert (planned.code, planned.out and json.loads(planned.out)["due"]) == (0, read), planned.talk
    checked = chained("check", "reader", "--json").value
    assert [each["code"] for each in checked["warnings"] if each["code"] == "P015"] == []
    # What the view reads is waited for, in the plan, in a run of its own and in the order of all.
    over = rows.split()[0].rpartition(".")[2] in ("seen", "renamed", "qualified")
    reads = {each["pipeline"]: each["reads"] for each in chained("graph", "--json").value}
    assert reads == {"classify": [], "reader": ["classify"] if over or "JOIN" in rows else []}
    write_tickets(chained.root, [{**each, "body": f"refund {each['id']}"} for each in TICKETS])
    if over:
        waiting = chained("plan", "reader", "classify", "--json").value
        assert [(each["pipeline"], each.get("waits_for")) for each in waiting] == [
            ("classify", None),
            ("reader", ["classify"]),
        ]
        chained("run", "classify", "--limit", "1")
        assert chained("status", "reader", "--json").value["waits_for"] == ["classify"]
        assert chained("run", "reader").code == 6


def test_no_message_names_the_hidden_database(chained: Chained) -> None:
    chained.run("classify")
    reader = chained.root / "pipelines" / "extract.toml"
    reader.write_text(EXTRACT.replace("FROM classify", "FROM all_rows('class' || 'ify')"), encoding="utf-8")
    found = chained("plan", "extract")
    assert (found.code, "does not exist" in found.talk, "store of" in found.talk) == (2, True, False), found.talk
