"""Files and JSON of `results` hold every value as it is, whatever its type."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import duckdb
import pytest
from calls import ask
from pages.shown import client_of
from projects import BASIC, Project, numbered

from batchpipe.commands.printing.text import json_text
from batchpipe.commands.report.report import report
from batchpipe.commands.results import spreadsheet
from batchpipe.commands.results.results import results
from batchpipe.commands.show.show import show


def run_with(project: Project, values: Mapping[str, str], rows: int) -> None:
    """Run a pipeline whose output table takes over columns of these `values`, given as SQL by their names."""
    columns = ", ".join(f"{value} AS {name}" for name, value in values.items())
    columns = json.dumps(columns, ensure_ascii=False)[1:-1]  # a text of JSON is one of TOML, too
    included = BASIC.replace("SELECT id,", f"SELECT {columns}, id,").replace(
        "[output.fields.label]", f"[output]\ninclude = {list(values)}\n[output.fields.label]"
    )
    project.pipeline(included)
    project.rows(numbered(rows))
    project.run()


def test_a_workbook_holds_no_value_that_a_cell_changes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    monkeypatch.setattr(spreadsheet, "_has_extension", lambda connection: False)
    values = {
        "far": "9007199254740993::BIGINT",
        "near": "12::BIGINT",
        "cents": "123456789012345678.91::DECIMAL(20, 2)",
        "price": "19.25::DECIMAL(20, 2)",
        "none": "'nan'::DOUBLE",
        "clock": "'12:00:00+02'::TIMETZ",
        "old": "DATE '0044-03-15 (BC)'",
        "always": "'infinity'::TIMESTAMP",
        "day": "DATE '2026-11-29'",
        "code": "'=1+1'::BLOB",
        "instant": "TIMESTAMP '2026-11-29 00:00:00.123456'",
        "minute": "TIME '12:00:00.000001'",
    }
    run_with(project, values, rows=2)
    ask(project, results, "demo", "out.xlsx")
    header, row, *_ = openpyxl.load_workbook(project.root / "out.xlsx").active.iter_rows(values_only=True)
    cells = dict(zip(header, row, strict=True))
    assert [cells[name] for name in ("far", "near", "cents", "price")] == [
        "9007199254740993", 12, "123456789012345678.91", 19.25,
    ]  # fmt: skip
    assert [cells[name] for name in ("none", "clock", "old", "always", "instant", "minute")] == [
        "nan", "12:00:00+02", "0044-03-15 (BC)", "infinity", "2026-11-29 00:00:00.123456", "12:00:00.000001",
    ]  # fmt: skip
    assert (cells["day"].date().isoformat(), cells["code"]) == ("2026-11-29", "'=1+1")
    ask(project, results, "demo", "out.csv")
    assert '"\'=1+1"' in (project.root / "out.csv").read_text("utf-8")


def test_a_parquet_file_has_every_digit_and_offset(project: Project) -> None:
    values = {
        "total": "9007199254740993::HUGEINT",
        "most": "'170141183460469231731687303715884105727'::HUGEINT",
        "back": "INTERVAL '-1.000001 seconds'",
        "clock": "'12:00:00+02'::TIMETZ",
        "sums": "[9007199254740993::HUGEINT]",
        "named": "struct_pack(\"INTERVAL\" := 'daily', price := 5)",
    }
    run_with(project, values, rows=1)
    ask(project, results, "demo", "out.parquet")
    with duckdb.connect() as connection:
        read = f"SELECT {', '.join(values)} FROM '{project.root}/out.parquet'"
        found = connection.execute(read).fetchall()
    assert [str(each) for each in found[0]] == [
        "9007199254740993",
        "170141183460469231731687303715884105727",
        "-00:00:01.000001",
        "12:00:00+02",
        "['9007199254740993']",
        "{'INTERVAL': 'daily', 'price': 5}",
    ]


def test_odd_values_within_lists_and_structs_are_shown_everywhere(project: Project) -> None:
    values = {
        "by_number": "MAP {id: 'x'}",
        "large": "['170141183460469231731687303715884105727'::HUGEINT]",
        "mixed": "{'gap': INTERVAL 1 DAY, 'raw': 'ab'::BLOB, 'none': ['nan'::DOUBLE, 1.5]}",
        "zoned": "{'at': TIMESTAMPTZ '2026-01-01 10:00:00+00', 'said': 'é'}",
        "endless": "'-inf'::FLOAT",
        "bytes": "unhex('61FF')",
    }
    run_with(project, values, rows=1)
    strict: Any = {"parse_constant": lambda name: pytest.fail(f"{name} is no JSON")}
    for ending in ("json", "jsonl"):
        ask(project, results, "demo", f"out.{ending}")
        whole = json.loads((project.root / f"out.{ending}").read_text("utf-8"), **strict)
        row = whole[0] if ending == "json" else whole
        assert (row["mixed"]["none"], row["endless"], row["large"]) == (["nan", 1.5], "-inf", [2**127 - 1])
        assert row["zoned"]["said"] == "é"
    ask(project, results, "demo", "out.csv")
    (cells,) = csv.DictReader(io.StringIO((project.root / "out.csv").read_text("utf-8")))
    assert json.loads(cells["mixed"], **strict)["none"] == ["nan", 1.5]
    (shown,) = ask(project, results, "demo", as_json=True).value["rows"]
    assert shown["zoned"] == {"at": "2026-01-01T10:00:00+00:00", "said": "é"}
    talk = ask(project, show, "demo", ["1"]).out
    assert '"said": "é"' in talk
    for word in ("b'", "False", "{'"):
        assert word not in talk.partition("\nnow\n")[0]
    ask(project, show, "demo", ["1"], html="row.html", with_rows=True)
    assert "170141183460469231731687303715884105727" in (project.root / "row.html").read_text("utf-8")
    ask(project, report, ["demo"], html="report.html", with_rows=True)
    with client_of(project) as client:
        for page in ("rows", "rows?state=failed", "row/1", "plan"):
            assert client.get(f"/p/demo/{page}", headers={"hx-request": "true"}).status_code == 200, page


EXACT = {
    "amounts": ("[123456789012345678.91::DECIMAL(20, 2)]", "[123456789012345678.91]"),
    "doc": ("""'{"a": 12345678901234567890.12,\n "b": "\\n"}'::JSON""", '{"a": 12345678901234567890.12, "b": "\\n"}'),
    "docs": ("""['{"a": 12345678901234567890.12}'::JSON]""", '[{"a": 12345678901234567890.12}]'),
    "tenth": ("0.1::FLOAT", "0.1"),
    "tenths": ("[0.1::FLOAT]", "[0.1]"),
    "gap": ("INTERVAL '1 month -2 days'", '"1 month -2 days"'),
    "gaps": ("[INTERVAL 1 MONTH]", '["1 month"]'),
    "longest": ("INTERVAL '100000000 months'", '"8333333 years 4 months"'),
    "always": ("TIMESTAMP 'infinity'", '"infinity"'),
    "never": ("DATE '-infinity'", '"-infinity"'),
    "nanosecond": ("TIMESTAMP_NS '2026-01-01 00:00:00.123456789'", '"2026-01-01T00:00:00.123456789"'),
    "nothing": ("NULL::TIMESTAMP", "null"),
}


def test_json_holds_every_digit_and_moment(project: Project) -> None:
    """Numbers are compared by their digits, since a reader of JSON may round them."""
    run_with(project, {name: value for name, (value, _) in EXACT.items()}, rows=1)

    def digits(text: str) -> Any:
        return json.loads(text, parse_float=str, parse_int=str)

    wanted = {name: digits(text) for name, (_, text) in EXACT.items()}
    ask(project, results, "demo", "out.json")
    ask(project, results, "demo", "out.jsonl")
    shown = json_text(ask(project, results, "demo", as_json=True).value["rows"])
    (line,) = (project.root / "out.jsonl").read_text("utf-8").splitlines()
    for rows in (shown, (project.root / "out.json").read_text("utf-8"), f"[{line}]"):
        (row,) = digits(rows)
        row["nanosecond"] = row["nanosecond"].replace(" ", "T")
        assert {name: row[name] for name in EXACT} == wanted
    assert ask(project, show, "demo", ["1"]).code == 0


def test_a_file_of_json_without_rows_is_an_empty_list(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(1))
    project.run()
    ask(project, results, "demo", "out.json", where="id > 1")
    assert json.loads((project.root / "out.json").read_text("utf-8")) == []


def test_long_inputs_beside_the_answers_are_written(project: Project) -> None:
    project.pipeline(BASIC.replace("[output.fields.label]", '[output]\ninclude = ["body"]\n[output.fields.label]', 1))
    rows = numbered(80)
    project.rows([row | {"body": f"{row['id']} " + "long text " * 50_000} for row in rows])
    project.run()
    for ending in ("csv", "jsonl", "parquet"):
        target = project.root / f"written.{ending}"
        assert ask(project, results, "demo", to=str(target)).code == 0
        lengths = duckdb.execute(f"SELECT count(*), min(strlen(body)) FROM '{target}'").fetchall()
        assert lengths == [(80, 500_002)]
