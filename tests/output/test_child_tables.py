"""The tables of list fields: `[output.rows]`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commandline import CommandLine
from starlette.testclient import TestClient

from batchpipe.commands.call.begin import make_call
from batchpipe.commands.call.options import Globals
from batchpipe.pages.app import make_app
from batchpipe.pages.guard import Door
from batchpipe.pages.site import Site

INVOICES = """
[input]
query = "SELECT * FROM read_csv('invoices.csv')"
key = "id"
[prompt]
user_text = "Read {{ body }}"
[output]
table = "mart.invoices"
[output.rows]
lines = "invoice_lines"
tags = "mart.invoice_tags"
[output.fields.lines]
type = "array"
optional = true
[output.fields.lines.items]
type = "object"
[output.fields.lines.items.fields.item]
type = "string"
[output.fields.lines.items.fields.amount]
type = "number"
column = "DECIMAL(12,2)"
[output.fields.tags]
type = "array"
items = { type = "string" }
[[models]]
model = "claude-haiku-4-5"
max_tokens = 300
"""
TOTALS = """
[input]
query = "SELECT item, sum(amount) AS total FROM invoice_lines GROUP BY item"
key = "item"
[prompt]
user_text = "Say {{ item }}: {{ total }}"
[output.fields.said]
type = "string"
[[models]]
model = "claude-haiku-4-5"
max_tokens = 50
"""
ANSWERS = [
    {
        "match": "Read one",
        "output": {"lines": [{"item": "tea", "amount": 1.1}, {"item": "jam", "amount": 2}], "tags": []},
    },
    {"match": "Read two", "output": {"lines": None, "tags": ["a", "b"]}},
    {"match": "Read three", "output": {"lines": [{"item": "tea", "amount": 3}], "tags": ["c"]}},
]


class Shop:
    """The command line in a project of invoices."""

    def __init__(self, root: Path, line: CommandLine) -> None:
        self.root, self.line = root, line
        (root / "pipelines").mkdir()
        (root / "batchpipe.toml").touch()
        (root / "answers.jsonl").write_text("".join(json.dumps(each) + "\n" for each in ANSWERS), encoding="utf-8")
        self.write("invoices", INVOICES)
        self.rows("1,one", "2,two")

    def write(self, name: str, text: str) -> None:
        (self.root / "pipelines" / f"{name}.toml").write_text(text, encoding="utf-8")

    def rows(self, *lines: str) -> None:
        (self.root / "invoices.csv").write_text("id,body\n" + "\n".join(lines) + "\n", encoding="utf-8")

    def __call__(self, *arguments: str) -> Any:
        found = self.line("-C", str(self.root), *arguments, "--emulator", "--answers", str(self.root / "answers.jsonl"))
        assert found.code == 0, found.talk + found.out
        return found

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        path = self.root / ".batchpipe" / "emulator" / "batchpipe.duckdb"
        with duckdb.connect(str(path), read_only=True) as connection:
            return connection.execute(statement).fetchall()


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    monkeypatch.setenv("BATCHPIPE_POLL_INTERVAL", "0.02")
    return Shop(tmp_path, CommandLine(monkeypatch=monkeypatch, capsys=capsys))


LINES = "SELECT id, _index, item, amount::VARCHAR, _current FROM invoice_lines ORDER BY ALL"


def test_items_are_rows_that_follow_the_answers(shop: Shop) -> None:
    shop.write("totals", TOTALS)
    planned = json.loads(shop("plan", "--all", "--json").out)
    assert [each["pipeline"] for each in planned] == ["invoices", "totals"]
    assert planned[1]["waits_for"] == ["invoices"]
    assert planned[1]["estimate"]["due"] >= 1
    shop("run", "--all", "--yes")
    assert shop.sql(LINES) == [(1, 1, "tea", "1.10", True), (1, 2, "jam", "2.00", True)]
    assert shop.sql("SELECT id, _index, value, _model, _review FROM mart.invoice_tags ORDER BY 2") == [
        (2, 1, "a", "claude-haiku-4-5-20251001", False),
        (2, 2, "b", "claude-haiku-4-5-20251001", False),
    ]
    types = dict(shop.sql("SELECT column_name, column_type FROM (DESCRIBE invoice_lines)"))
    own = dict(shop.sql("SELECT column_name, column_type FROM (DESCRIBE mart.invoices)"))
    assert (types["id"], types["_index"], types["amount"]) == (own["id"], "BIGINT", "DECIMAL(12,2)")
    assert {name: kind for name, kind in own.items() if name.startswith("_")} == {
        name: kind for name, kind in types.items() if name.startswith("_") and name != "_index"
    }
    assert shop.sql("SELECT item, said IS NOT NULL FROM totals ORDER BY 1") == [("jam", True), ("tea", True)]

    # A new answer replaces all items of its row; a row that left the input is not current.
    shop.rows("1,three")
    shop("run", "invoices")
    assert shop.sql(LINES) == [(1, 1, "tea", "3.00", True)]
    assert shop.sql("SELECT value, _current FROM mart.invoice_tags ORDER BY 1") == [
        ("a", False),
        ("b", False),
        ("c", True),
    ]
    # Another table's name moves it, and none is left behind.
    shop.write("invoices", INVOICES.replace('tags = "mart.invoice_tags"\n', "").replace("invoice_lines", "positions"))
    (shop.root / "pipelines" / "totals.toml").unlink()
    shop("run", "invoices")
    assert shop.sql("SELECT view_name FROM duckdb_views() WHERE contains(comment, '[batchpipe')") == [("positions",)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('lines = "invoice_lines"', 'line = "invoice_lines"', "there is no field 'line'"),
        ('tags = "mart.invoice_tags"', 'tags = "Mart.Invoices"', "is also the output table"),
        ('tags = "mart.invoice_tags"', 'tags = "main.invoice_lines"', "is also the table of lines"),
        ('tags = "mart.invoice_tags"', 'tags = "ledger.tags"', "schema ledger"),
        ('key = "id"', 'key = "id"\n# value', None),
        ("fields.item]", "fields.ID]", "'ID' would be two columns"),
        (
            'items = { type = "string" }',
            'items = { type = "object", fields = { _cost_usd = { type = "number" } } }',
            "two",
        ),
    ],
)
def test_what_cannot_be_a_table_is_found(shop: Shop, old: str, new: str, said: str | None) -> None:
    shop.write("invoices", INVOICES.replace(old, new))
    found = shop.line("-C", str(shop.root), "check", "invoices")
    assert (found.code, said is None or said in found.out) == (0 if said is None else 2, True), found.out


def test_a_table_of_somebody_else_is_not_touched(shop: Shop) -> None:
    shop("status")
    path = shop.root / ".batchpipe" / "emulator" / "batchpipe.duckdb"
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE invoice_lines AS SELECT 1 AS x")
    refused = shop.line("-C", str(shop.root), "run", "invoices", "--emulator")
    assert (refused.code, "not touched" in refused.talk) == (2, True)
    assert shop.sql("FROM invoice_lines") == [(1,)]


def test_a_renamed_pipeline_that_bought_nothing_is_told_whose_tables_stand_there(shop: Shop) -> None:
    for own in (INVOICES, INVOICES.replace('table = "mart.invoices"\n', "")):
        shop.write("invoices", own)
        shop("run", "invoices", "--no-new")
        (shop.root / "pipelines" / "invoices.toml").unlink()
        shop.write("bills", own)
        for command in (["plan", "bills"], ["run", "bills", "--yes"]):
            found = shop.line("-C", str(shop.root), *command, "--emulator")
            assert found.code == 2, found
            assert 'if bills is invoices under a new name, write renamed_from = "invoices"' in found.talk
        (shop.root / "pipelines" / "bills.toml").unlink()
    shop.write("bills", 'renamed_from = "invoices"\n' + INVOICES)
    shop("run", "bills", "--yes")
    assert shop.sql("SELECT count(*) FROM invoice_lines") == [(2,)]


def test_a_page_has_the_items_of_a_list_field(shop: Shop) -> None:
    shop("run", "invoices", "--yes")
    call = make_call(
        Globals(emulator=True),
        [],
        json=False,
        start=shop.root,
        environment={},
        command="batchpipe ui",
        interrupted=lambda: False,
    )
    site = Site(call=call, door=Door(secret="secret", token="token"))
    with TestClient(make_app(site), base_url="http://127.0.0.1:8473") as client:
        assert client.get("/?token=token").status_code == 200
        found = client.get("/p/invoices/rows.json?items=lines&where=_index=2").json()
        assert (found["table"], found["matching"]) == ("invoice_lines", 1)
        assert [(row["id"], row["_index"], row["item"]) for row in found["rows"]] == [(1, 2, "jam")]
        assert client.get("/p/invoices/rows.json?items=nothing").json()["table"] == "mart.invoices"
        page = client.get("/p/invoices/rows?items=lines", headers={"hx-request": "true"}).text
        assert "items of tags" in page
        assert "jam" in page
    site.close()
