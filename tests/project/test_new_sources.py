"""Tests of what `new` makes of a file: what it says, what it leaves out of the prompt, and which files it takes."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import duckdb
import pytest
from commandline import CommandLine

from batchpipe.common.errors import UsageError
from batchpipe.pipeline.load import load
from batchpipe.scaffold import new_pipeline
from batchpipe.scaffold.budget import InputSize, input_size
from batchpipe.scaffold.left_out import LABEL, PERSONAL, left_out
from batchpipe.scaffold.sources import read_source


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    (tmp_path / "batchpipe.toml").touch()
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch=monkeypatch, capsys=capsys)


TICKETS = """ticket_id,subject,queue,category,E-Mail,contact,amount
7,Lamp,bug,x,ada@example.org,+49 30 1234567,3
8,Bill,billing,y,,+49 30 1234568,4
9,Tea,bug,z,bo@example.org,,5
"""


def test_it_says_what_it_chose_and_leaves_out_labels_and_personal_data(tmp_path: Path, call: CommandLine) -> None:
    (tmp_path / "tickets.csv").write_text(TICKETS)
    ended = call("new", "tickets", "--input", "tickets.csv", "--labels", "bug,Billing,other")
    assert ended.code == 0, ended.talk
    assert "key: ticket_id, guessed" in ended.talk
    assert "in the prompt: subject, amount" in ended.talk
    for column, reason in (("queue", LABEL), ("category", LABEL), ("E-Mail", PERSONAL), ("contact", PERSONAL)):
        assert f"not in the prompt: {column}, {reason}" in ended.talk
        assert f"# Not in the prompt: {column} ({reason})." in (tmp_path / "pipelines" / "tickets.toml").read_text()
    user = (tmp_path / "prompts" / "tickets" / "user.md.j2").read_text()
    assert "{{ subject }}" in user
    assert "{{ queue }}" not in user
    ended = call("plan", "tickets", "--json", "--emulator")
    assert (ended.code, ended.value["due"]) == (0, 3), ended.talk
    ended = call("show", "tickets", "7", "--emulator")
    assert "<row>\n    <subject>Lamp</subject>\n    <amount>3</amount>\n    </row>" in ended.out
    assert "left out" not in ended.out
    ended = call("new", "again", "--input", "tickets.csv", "--json")
    assert ended.value["key"] == ["ticket_id"]
    assert ended.value["prompt_columns"] == ["subject", "queue", "category", "amount"]


@pytest.mark.parametrize(
    ("column", "labels", "reason"),
    [
        ("label", (), LABEL),
        ("gold_label", (), LABEL),
        ("intent", (), None),
        ("intent", ("a", "b"), LABEL),
        ("firstName", (), PERSONAL),
        ("Customer Name", (), PERSONAL),
        ("date of birth", (), PERSONAL),
        ("product_name", (), None),
        ("name", (), None),
        ("description", (), None),
        ("ip", (), PERSONAL),
        ("tip", (), None),
        ("email_subject", (), None),
    ],
)
def test_a_column_is_judged_by_its_name(column: str, labels: tuple[str, ...], reason: str | None) -> None:
    with duckdb.connect() as session:
        found = left_out(session, f"(SELECT 'some text' AS \"{column}\")", {column: "VARCHAR"}, labels)
    assert found.get(column) == reason


def test_a_prompt_is_never_left_empty(tmp_path: Path, call: CommandLine) -> None:
    (tmp_path / "rows.csv").write_text("id,email\n1,a@example.org\n2,b@example.org\n")
    ended = call("new", "rows", "--input", "rows.csv")
    assert "in the prompt: email" in ended.talk
    assert "{{ email }}" in (tmp_path / "prompts" / "rows" / "user.md.j2").read_text()


def test_the_path_stays_as_it_was_typed(tmp_path: Path, call: CommandLine) -> None:
    data = tmp_path / "elsewhere"
    data.mkdir()
    (data / "rows.csv").write_text("id,text\n1,a\n2,b\n")
    (tmp_path / "linked").symlink_to(data)
    (tmp_path / "deep").mkdir()
    for number, typed in enumerate(("linked/rows.csv", "./elsewhere/rows.csv", str(data / "rows.csv"))):
        assert call("new", f"rows_{number}", "--input", typed).code == 0
        assert f"read_csv('{typed}')" in (tmp_path / "pipelines" / f"rows_{number}.toml").read_text()
    call.monkeypatch.chdir(tmp_path / "deep")
    assert call("new", "rows_9", "--input", "../linked/rows.csv").code == 0
    assert "read_csv('linked/rows.csv')" in (tmp_path / "pipelines" / "rows_9.toml").read_text()


def test_a_database_is_taken_and_its_table_named(tmp_path: Path, call: CommandLine) -> None:
    for name in ("crm.duckdb", "batchpipe.duckdb"):
        with duckdb.connect(str(tmp_path / name)) as connection:
            connection.execute("CREATE TABLE tickets AS SELECT range AS id, 'text ' || range AS body FROM range(3)")
            connection.execute('CREATE SCHEMA mart; CREATE TABLE mart."Old ones" AS SELECT 1 AS id, 2 AS x')
    ended = call("new", "tickets", "--input", "crm.duckdb")
    assert ended.code == 2
    assert "several tables: tickets, mart.Old ones" in ended.talk
    assert "--table tickets" in ended.talk
    ended = call("new", "tickets", "--input", "crm.duckdb", "--table", "tickest")
    assert "there is no table tickest, but tickets, mart.Old ones" in ended.talk
    assert "Did you mean --table tickets?" in ended.talk
    assert "--table 'mart.Old ones'" in call("new", "x", "--input", "crm.duckdb", "--table", "mart.odl ones").talk
    # A pipeline is not called like the table that another one reads: that would be its output table.
    assert call("new", "of_crm", "--input", "crm.duckdb", "--table", "tickets").code == 0
    given = load(tmp_path / "pipelines" / "of_crm.toml", tmp_path).pipeline.input
    assert given.setup == ("ATTACH 'crm.duckdb' AS source (READ_ONLY)",)
    ended = call("plan", "of_crm", "--json", "--emulator")
    assert (ended.code, ended.value["due"]) == (0, 3), ended.talk
    # The project's own database needs no ATTACH.
    ended = call("new", "own", "--input", "batchpipe.duckdb", "--table", "Mart.old ones")
    assert (ended.code, "CREATE VIEW" in ended.talk) == (2, True)
    assert call("new", "own", "--input", "batchpipe.duckdb", "--table", "Tickets").code == 0
    given = load(tmp_path / "pipelines" / "own.toml", tmp_path).pipeline.input
    assert given.setup == ()
    assert call("plan", "own", "--json", "--emulator").value["due"] == 3


def test_git_takes_the_input_but_not_the_projects_database(tmp_path: Path, call: CommandLine) -> None:
    """So a checkout in CI has the rows; where git ignores them, `new` says so."""
    assert call("init", "shop").code == 0
    root = tmp_path / "shop"
    call.monkeypatch.chdir(root)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    for name in ("crm.duckdb", "batchpipe.duckdb"):
        with duckdb.connect(str(root / name)) as connection:
            connection.execute("CREATE TABLE tickets AS SELECT range AS id, 'text ' || range AS body FROM range(3)")
    (root / "batchpipe.duckdb.wal").touch()
    (root / "crm.sqlite").touch()
    (root / "rows.xlsx").touch()
    (root / "pipelines" / "data" / "more.duckdb").touch()
    ended = call("new", "of_crm", "--input", "crm.duckdb")
    assert (ended.code, "git ignores" in ended.talk) == (0, False), ended.talk
    listed = subprocess.run(["git", "status", "--short", "-uall"], cwd=root, check=True, capture_output=True, text=True)
    names = {line.split()[-1] for line in listed.stdout.splitlines()}
    assert names >= {"crm.duckdb", "crm.sqlite", "rows.xlsx", "pipelines/data/more.duckdb"}
    assert not [each for each in names if each.startswith("batchpipe.duckdb")]
    (root / "batchpipe.duckdb.wal").unlink()
    assert "git ignores batchpipe.duckdb, so that" in call("new", "own", "--input", "batchpipe.duckdb").talk
    # A project of yesterday.
    (root / ".gitignore").write_text("*.duckdb\n")
    (root / "crm.duckdb").rename(root / "my crm.duckdb")
    ended = call("new", "again", "--input", "my crm.duckdb")
    assert ended.talk.count("git ignores 'my crm.duckdb'") == 1
    subprocess.run(ended.talk.partition("to commit it: ")[2].splitlines()[0], cwd=root, check=True, shell=True)
    assert "git ignores" not in call("new", "third", "--input", "my crm.duckdb").talk


@pytest.mark.parametrize("more", [(), ("--summarize",)])
def test_a_table_is_of_a_database(tmp_path: Path, call: CommandLine, more: tuple[str, ...]) -> None:
    (tmp_path / "tickets.csv").write_text(TICKETS)
    ended = call("new", "tickets", "--input", "tickets.csv", "--table", "nosuch", *more)
    assert (ended.code, "--table with a file that is no database" in ended.talk) == (2, True)
    assert not (tmp_path / "pipelines").exists()


def test_a_file_of_many_columns_has_a_size(tmp_path: Path) -> None:
    columns = [f"c{number}" for number in range(3_000)]
    row = ", ".join(f"'ab' AS {each}" for each in columns[:-2])
    relation = f"(SELECT {row}, NULL AS c2998, [1, 2] AS c2999 FROM range(2))"
    size = 2 * 2_998 + len("[1, 2]")
    assert input_size(tmp_path, relation, columns) == InputSize(rows=2, bytes=2 * size, longest=size + len('""'))
    assert input_size(tmp_path, relation, []) == InputSize(rows=2, bytes=0, longest=len('""'))


def test_a_key_within_a_nested_column_is_found(tmp_path: Path, call: CommandLine) -> None:
    lines = [
        {"order": {"items": [{"id": number}], "buyer": {"Buyer ID": f"B{number}"}, "size": 1.5}, "note": "late"}
        for number in range(6)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    ended = call("new", "notes", "--input", "rows.jsonl", "--labels", "late,other")
    assert ended.code == 0, ended.talk
    assert 'the key order_buyer_Buyer ID is "order".buyer."Buyer ID" of the file' in ended.talk
    assert 'FROM (SELECT "order".buyer."Buyer ID" AS' in (tmp_path / "pipelines" / "notes.toml").read_text()
    planned = call("plan", "notes", "--json", "--emulator")
    assert (planned.code, planned.value["due"]) == (0, 6), planned.talk
    assert call("run", "notes", "--emulator", "--yes").code == 0
    # A column of its own goes first, and a value that occurs twice is no key.
    for line in lines:
        line["order"] = {"id": 7, "size": 1.5}
    (tmp_path / "twice.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    refused = call("new", "twice", "--input", "twice.jsonl")
    assert (refused.code, "can be the key" in refused.talk) == (2, True)


def test_what_the_engine_cannot_read_is_told_with_the_way_out(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "crm.db") as connection:
        connection.execute("CREATE TABLE tickets (id INTEGER, body TEXT)")
        connection.execute("INSERT INTO tickets VALUES (1, 'a'), (2, 'b')")
    (tmp_path / "rows.xlsx").write_bytes(b"PK\x03\x04")
    with duckdb.connect() as session:
        here = {
            name
            for (name,) in session.execute("SELECT extension_name FROM duckdb_extensions() WHERE installed").fetchall()
        }
    if "sqlite_scanner" in here:
        found = read_source(tmp_path, tmp_path / "crm.db")
        assert (found.key, found.setup) == (("id",), ("ATTACH 'crm.db' AS source (TYPE sqlite, READ_ONLY)",))
    else:
        with pytest.raises(UsageError, match="needs its extension sqlite") as raised:
            read_source(tmp_path, tmp_path / "crm.db")
        assert "INSTALL sqlite" in str(raised.value.hint)
        assert "sqlite3 -header -csv crm.db" in str(raised.value.hint)
    with pytest.raises(UsageError, match=r"cannot read the file|needs its extension excel") as raised:
        read_source(tmp_path, tmp_path / "rows.xlsx")
    assert ("INSTALL excel" in str(raised.value.hint)) == ("excel" not in here)


@pytest.mark.parametrize(
    ("content", "option", "said"),
    [
        ("id,text\n1,Grüße\n2,Ärger\n".encode("latin-1"), ", encoding = 'latin-1'", "it is read as latin-1"),
        ("id,text\n1,Grüße\n2,Ärger\n".encode("utf-16"), ", encoding = 'utf-16'", "it is read as utf-16"),
        ("id,text\n1,Hello\n2,Bye\n".encode("utf-16-le"), ", encoding = 'utf-16'", "it is read as utf-16"),
        (b"id,text\n1," + b"x" * 2_500_000 + b"\n2,y\n", ", max_line_size = ", "more than 2 MB"),
    ],
    ids=["latin-1", "utf-16", "utf-16 without a mark", "long line"],
)
def test_a_file_is_read_in_its_encoding_and_with_its_long_lines(
    tmp_path: Path, content: bytes, option: str, said: str
) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    made = new_pipeline("rows", root=tmp_path, source=tmp_path / "rows.csv")
    query = tomllib.loads((tmp_path / "pipelines" / "rows.toml").read_text(encoding="utf-8"))["input"]["query"]
    assert f"read_csv('rows.csv'{option}" in query
    assert (made.key, len(made.notes), said in made.notes[0]) == (("id",), 1, True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "1,a long text\n2,another one\n3,a third\n",
            "the file has no line with names: its columns are called column0",
        ),
        ("id,text\n1,a\n2,c,d,e\n3\n", "only one column was found, 'id,text': most likely some lines have more values"),
    ],
)
def test_it_says_that_a_file_is_no_clean_table(tmp_path: Path, call: CommandLine, content: str, said: str) -> None:
    (tmp_path / "rows.csv").write_text(content, encoding="utf-8")
    assert said in call("new", "rows", "--input", "rows.csv").talk


def test_bytes_that_are_no_text_are_left_out_of_the_prompt(tmp_path: Path) -> None:
    with duckdb.connect() as session:
        session.execute(
            f"COPY (SELECT range AS id, 'x' || range AS text, '\\xAA'::BLOB AS raw, 'abc'::BLOB AS words "
            f"FROM range(3)) TO '{tmp_path}/rows.parquet'"
        )
    made = new_pipeline("rows", root=tmp_path, source=tmp_path / "rows.parquet")
    assert (made.shown, dict(made.left_out)) == (("text", "words"), {"raw": "its bytes are no text"})


def test_a_folder_and_an_address_are_no_file(call: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").mkdir()
    for given, said in (("rows.csv", "this is a folder"), ("https://example.org/rows.csv", "this is an address")):
        ended = call("new", "rows", "--input", given)
        assert (ended.code, said in ended.talk) == (2, True), ended.talk


def test_a_file_of_hundreds_of_columns_needs_no_more_memory_than_others(tmp_path: Path) -> None:
    """Counting the distinct values of all columns at once took 24 MB a column."""
    lines = [",".join(f"{each}{number}" for number in range(300)) for each in ("c", "v", "w")]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    program = tmp_path / "program.py"
    program.write_text(
        "import resource\n"
        "from pathlib import Path\n"
        "from batchpipe.scaffold import new_pipeline\n"
        "new_pipeline('rows', root=Path('.'), source=Path('rows.csv'))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)\n"
    )
    command = [sys.executable, str(program)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1_500_000_000


def test_a_file_that_is_not_there_is_told_with_the_one_that_was_meant(tmp_path: Path, call: CommandLine) -> None:
    (tmp_path / "tickets.csv").write_text("id,text\n1,a\n")
    (tmp_path / "tickets.md").write_text("no table")
    ended = call("new", "a", "--input", "tickest.csv")
    assert (ended.code, "Did you mean tickets.csv?" in ended.talk) == (2, True)
    assert "Give `--input` the path of a data file." in call("new", "a", "--input", "other.parquet").talk
    ended = call("new", "a", "--input", "https://example.org/rows.csv")
    assert "error: https://example.org/rows.csv: this is an address and no file" in ended.talk
