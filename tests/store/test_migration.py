"""A project of schema version 1: its database, raw folder and batches in flight go on as if nothing happened."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
import tarfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
from commandline import CommandLine

from batchpipe.common.machine import utc_now
from batchpipe.engine.context import Context
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.versions import known_versions
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.preview import preview
from batchpipe.engine.run.result import RunResult
from batchpipe.engine.run.runner import run_pipelines
from batchpipe.pipeline.load import load
from batchpipe.project.settings import load_settings
from batchpipe.store.migration import migrations

ARCHIVE = Path(__file__).parent / "yesterday" / "project.tar.xz"
MADE_BY_SQL = {"key_id", "input_hash", "fingerprint", "request_hash"}
MADE_BY_PYTHON = {"prompt_version", "prompt_hash", "schema_hash", "visible_hash", "policy_hash", "judge_hash"}
FACTS = ("prompt_versions", "policies", "requests", "results", "decisions", "reviews", "orders", "events", "commits")
PIPELINES = ("demo", "tried", "piloted", "limited", "flying")
DUE = ("new", "redo", "input_changed", "schema_changed", "prompt_changed", "check_failed", "retry", "escalated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Yesterday:
    """The project, at a clock that stands where it was when the project was made."""

    root: Path
    behind: timedelta
    expected: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.root / ".batchpipe" / "emulator"

    @property
    def database(self) -> Path:
        return self.folder / "batchpipe.duckdb"

    def now(self) -> datetime:
        return utc_now() - self.behind

    def context(self) -> Context:
        settings = load_settings(self.root, environment={}, command_line={"emulator": True, "poll_interval": 0.02})
        return Context(root=self.root, settings=settings, environment={}, say=lambda text: None, clock=self.now)

    def plan(self, name: str, **options: Any) -> Plan:
        context = self.context()
        try:
            return preview(
                context, load(self.root / "pipelines" / f"{name}.toml", self.root), RunOptions(**options)
            ).plan
        finally:
            context.close()

    def run(self, name: str, **options: Any) -> RunResult:
        context = self.context()
        run = PipelineRun(
            context=context,
            file=load(self.root / "pipelines" / f"{name}.toml", self.root),
            options=RunOptions(**options),
            tell=lambda name, text: None,
            confirm=lambda resolved, plan: True,
        )
        try:
            (outcome,) = run_pipelines(context, [run], wait_seconds=60, show=lambda runs: None)
        finally:
            context.close()
        if outcome.error is not None:
            raise outcome.error
        return outcome.result

    def rows(self, statement: str, parameters: object = None) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.database), read_only=True) as connection:
            return connection.execute(statement, parameters).fetchall()

    def facts(self) -> dict[str, list[dict[str, Any]]]:
        """Every row of the tables of facts, in the order in which they lie there."""
        found = {}
        with duckdb.connect(str(self.database), read_only=True) as connection:
            for table in FACTS:
                cursor = connection.execute(f"SELECT * FROM ledger.{table} ORDER BY rowid")
                names = [each[0] for each in cursor.description or ()]
                found[table] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return found

    def sent(self) -> int:
        """The requests of all batches and calls that the service ever took."""
        with sqlite3.connect(self.folder / "service" / "emulator.sqlite") as service:
            ((batches,),) = service.execute("SELECT coalesce(sum(requests), 0) FROM batches")
            ((calls,),) = service.execute("SELECT count(*) FROM calls WHERE path = '/v1/messages'")
        return int(batches) + int(calls)


@pytest.fixture
def yesterday(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yesterday:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    with duckdb.connect(str(tmp_path / ".batchpipe" / "emulator" / "batchpipe.duckdb"), read_only=True) as connection:
        (made_at,) = connection.execute("SELECT max(recorded_at) FROM ledger.commits").fetchall()[0]
    behind = utc_now() - made_at - timedelta(minutes=1)
    with sqlite3.connect(tmp_path / ".batchpipe" / "emulator" / "service" / "emulator.sqlite") as service:
        service.execute("DELETE FROM settings WHERE name = 'clock_offset'")
        service.execute("INSERT INTO settings VALUES ('clock_offset', ?)", [-behind.total_seconds()])
    expected = json.loads((tmp_path / "expected.json").read_text(encoding="utf-8"))
    return Yesterday(root=tmp_path, behind=behind, expected=expected)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.setenv("BATCHPIPE_POLL_INTERVAL", "0.02")
    return CommandLine(monkeypatch=monkeypatch, capsys=capsys)


def identity(column: str, number: int) -> UUID:
    return UUID(bytes=number.to_bytes(16, "little" if column in MADE_BY_SQL else "big"))


def as_migrated(row: dict[str, Any]) -> dict[str, Any]:
    found = dict(row)
    for name, value in row.items():
        if name in MADE_BY_SQL | MADE_BY_PYTHON:
            found[name] = identity(name, value)
    if "data" in row:
        data = json.loads(row["data"])
        for name in ("prompt_version", "cache_prefix"):
            if name in data:
                data[name] = str(identity(name, int(data[name])))
        found["data"] = data
    return found


def test_every_row_is_as_it_was_in_its_place(yesterday: Yesterday) -> None:
    before = yesterday.facts()
    assert all(before[table] for table in FACTS if table != "orders")
    assert yesterday.plan("demo").due == 0
    after = yesterday.facts()
    for table, rows in before.items():
        wanted = [as_migrated(row) for row in rows]
        found = [{name: row[name] for name in rows[0]} for row in after[table]] if rows else after[table]
        for row in found:
            if "data" in row:
                row["data"] = json.loads(row["data"])
        assert found == wanted, table
    assert {row["recipe"] for table in ("prompt_versions", "policies") for row in after[table]} == {1}
    assert {row["provider"] for table in ("requests", "results") for row in after[table]} == {None}
    stored = yesterday.rows(
        "SELECT DISTINCT compression FROM pragma_storage_info('ledger.requests') "
        "WHERE column_name = 'custom_id' AND segment_type = 'VARCHAR'"
    )
    assert stored == [("Uncompressed",)]


def test_no_row_is_new_or_due(yesterday: Yesterday) -> None:
    plans = {name: yesterday.plan(name) for name in PIPELINES}
    assert {name: plan.rows_by_reason["new"] for name, plan in plans.items()} == {
        "demo": 0, "tried": 26, "piloted": 32, "limited": 43, "flying": 0,
    }  # fmt: skip
    assert plans["demo"].rows_by_reason["unchanged"] == 60
    assert plans["tried"].rows_by_reason["carried_over"] == 4
    assert plans["piloted"].rows_by_reason["unchanged"] == 8
    assert plans["limited"].rows_by_reason["unchanged"] == 7
    assert plans["flying"].rows_by_reason["pending"] == 27
    assert all(plan.rows_by_reason[word] == 0 for plan in plans.values() for word in DUE if word != "new")


def test_a_version_has_the_name_and_the_hash_that_it_had(yesterday: Yesterday) -> None:
    before = yesterday.rows("SELECT version, prompt_version FROM ledger.prompt_versions WHERE pipeline = 'demo'")
    context = yesterday.context()
    work = context.work()
    try:
        with context.database.reading(work) as session:
            found = known_versions(session, ["demo"])
    finally:
        work.close()
        context.close()
    assert [(each.version, each.hash) for each in found] == [(name, f"{number:032x}") for name, number in before]


def test_an_edit_of_the_prompt_carries_over_what_it_carried_over_before(yesterday: Yesterday) -> None:
    for name, expected in yesterday.expected["plans"].items():
        (yesterday.root / "pipelines" / f"{name}.toml").write_text(expected["edited"], encoding="utf-8")
        plan = yesterday.plan(name)
        rows = {word: count for word, count in expected["plan"]["rows"].items() if word not in ("input", "removed")}
        assert dict(plan.rows_by_reason) == rows, name
        assert (plan.due, plan.requests) == (expected["plan"]["due"], expected["plan"]["requests"])


def test_batches_in_flight_are_collected(yesterday: Yesterday) -> None:
    before = yesterday.sent()
    ids = yesterday.rows("SELECT custom_id, leads FROM ledger.requests WHERE pipeline = 'flying' ORDER BY ALL")
    result = yesterday.run("flying")
    assert (result.rows["accepted"], result.rows["pending"], result.rows["due"]) == (27, 0, 0)
    assert yesterday.sent() == before + result.submitted
    kept = yesterday.rows("SELECT custom_id, leads FROM ledger.requests WHERE pipeline = 'flying' ORDER BY ALL")
    assert set(ids) <= set(kept)
    climbed = yesterday.rows(
        "SELECT count(*) FROM ledger.requests WHERE pipeline = 'flying' AND leads AND reason IN ('escalated', 'retry')"
    )
    assert climbed == [(result.submitted,)]
    assert yesterday.plan("flying").rows_by_reason["unchanged"] == 27


def test_a_row_that_asks_what_is_in_flight_follows_it(yesterday: Yesterday) -> None:
    """The hash of a request is made in another way now; the one in flight is found by either."""
    with (yesterday.root / "flying.csv").open("a", newline="\r\n", encoding="utf-8") as file:
        file.write("late,text number 7,en\nnew,something else,en\n")
    plan = yesterday.plan("flying")
    assert (plan.rows_by_reason["new"], plan.requests, plan.followers) == (2, 1, 1)
    result = yesterday.run("flying")
    assert result.rows["accepted"] == 29
    again = yesterday.rows(
        "SELECT count(DISTINCT custom_id) FROM ledger.requests WHERE pipeline = 'flying' "
        "AND key IN ('[\"r7\"]', '[\"late\"]') AND reason = 'new'"
    )
    assert again == [(1,)]


def drawn(keys: str) -> str:
    """SQL: `keys` in the order in which schema version 1 drew them."""
    return f"SELECT key FROM ({keys}) ORDER BY md5_number(key)"


def test_samples_are_as_they_were_drawn(yesterday: Yesterday, typed: CommandLine) -> None:
    sheet = yesterday.root / "sheet.csv"
    assert typed("--emulator", "review", "demo", "--again", "--export", str(sheet)).code == 0
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        shown = [line["id"] for line in csv.DictReader(file)]
    # The sample is the same; its rows come in the order in which they are drawn.
    assert sorted(shown) == sorted(yesterday.expected["reviewed"])
    input_keys = "SELECT json_array(id)::VARCHAR AS key FROM read_csv('limited.csv', types = {'id': 'VARCHAR'})"
    order = [key for (key,) in duckdb.execute(drawn(input_keys)).fetchall()]
    yesterday.run("limited", limit=5)
    sent = yesterday.rows("SELECT DISTINCT key FROM ledger.requests WHERE pipeline = 'limited' AND reason = 'new'")
    assert {key for (key,) in sent} == set(order[:12])
    tried = typed("--emulator", "try", "tried", "--rows", "4", "--json").value
    assert [each["key"] for each in tried["rows"]] == yesterday.expected["tried"]
    pilots = "SELECT key FROM ledger.requests WHERE pipeline = 'piloted' AND leads ORDER BY seq"
    first = {key for (key,) in yesterday.rows(pilots)}
    path = yesterday.root / "pipelines" / "piloted.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("{{ body }}", "Now: {{ body }}"), encoding="utf-8")
    before = yesterday.rows("SELECT max(seq) FROM ledger.commits")[0][0]
    assert yesterday.run("piloted", pilot=8).status == "gate"
    second = yesterday.rows(
        "SELECT DISTINCT key FROM ledger.requests WHERE pipeline = 'piloted' AND seq > $1", [before]
    )
    assert {key for (key,) in second} == first


def test_an_evaluation_that_is_paid_for_is_not_bought_again(yesterday: Yesterday, typed: CommandLine) -> None:
    before = yesterday.sent()
    found = typed("--emulator", "eval", "demo", "--models", "all", "--yes", "--json")
    assert json.loads(found.out) == yesterday.expected["eval"]
    assert yesterday.sent() == before


def test_the_raw_folder_of_before_brings_a_lost_database_back(yesterday: Yesterday, typed: CommandLine) -> None:
    before = yesterday.sent()
    states = "SELECT pipeline, key, state, rung FROM ledger.row_state WHERE pipeline = 'demo' ORDER BY ALL"
    yesterday.plan("demo")
    known = yesterday.rows(states)
    hashes = "SELECT DISTINCT key_id, key, input_hash, fingerprint, request_hash, prompt_version FROM ledger.requests "
    sent = set(yesterday.rows(hashes + "WHERE pipeline IN ('demo', 'flying') AND leads AND reason <> 'try'"))
    yesterday.database.unlink()
    for name in ("demo", "flying"):
        assert typed("--emulator", "recover", name, "--from-raw").code == 0
    assert yesterday.rows(states) == known
    found = set(yesterday.rows(hashes + "WHERE pipeline IN ('demo', 'flying') AND leads"))
    assert found == sent
    assert (yesterday.plan("demo").rows_by_reason["unchanged"], yesterday.plan("flying").rows_by_reason["pending"]) == (
        60,
        27,
    )
    versions = "SELECT list(version ORDER BY version) FROM ledger.prompt_versions WHERE pipeline = 'demo'"
    assert yesterday.rows(versions) == [(["v1", "v2", "v3"],)]
    assert yesterday.run("flying").rows["accepted"] == 27
    ((more,),) = yesterday.rows(
        "SELECT count(*) FROM ledger.requests WHERE pipeline = 'flying' AND leads AND reason IN ('escalated', 'retry')"
    )
    assert yesterday.sent() == before + more


def test_the_raw_folder_of_before_adds_nothing_to_a_migrated_one(yesterday: Yesterday, typed: CommandLine) -> None:
    yesterday.plan("demo")
    before = yesterday.facts()
    assert typed("--emulator", "recover", "demo", "--from-raw").code == 0
    after = yesterday.facts()
    for table in ("prompt_versions", "policies", "requests", "results", "decisions", "reviews"):
        assert after[table] == before[table], table


def test_a_migration_that_is_cut_short_leaves_the_database_as_it_was(
    yesterday: Yesterday, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = yesterday.facts()
    spare = yesterday.root / "spare.duckdb"
    shutil.copy(yesterday.database, spare)
    import batchpipe.store.migration as migration

    real = migration._set_meta

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(migration, "_set_meta", killed)
    with pytest.raises(KeyboardInterrupt):
        yesterday.plan("demo")
    assert yesterday.facts() == whole
    monkeypatch.setattr(migration, "_set_meta", real)
    assert yesterday.plan("demo").due == 0


def test_every_output_table_bears_a_mark(yesterday: Yesterday) -> None:
    yesterday.plan("demo")
    ((database,),) = yesterday.rows("SELECT value FROM ledger.meta WHERE name = 'database'")
    made = yesterday.rows("SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = 'main' ORDER BY ALL")
    assert made == [(name, f"[batchpipe: database {database}, pipeline {name}]") for name, _ in made]
    assert {name for name, _ in made} >= {"demo", "limited", "piloted", "flying"}


def test_output_tables_of_schema_version_2_are_marked_too(yesterday: Yesterday) -> None:
    """The first code of that version marked none: a run called its own tables somebody else's."""
    with duckdb.connect(str(yesterday.database)) as connection:
        connection.execute(str(migrations()[1]))
        connection.execute("INSERT INTO ledger.meta VALUES ('schema_version', '2', now())")
    assert yesterday.rows("SELECT DISTINCT comment FROM duckdb_tables() WHERE schema_name = 'main'") == [(None,)]
    assert yesterday.run("demo").submitted == 0
    test_every_output_table_bears_a_mark(yesterday)


def test_a_database_that_got_tables_of_later_migrations_under_other_numbers_goes_on(yesterday: Yesterday) -> None:
    """Databases of development counted costs of gateways, votes and files as their own migrations 6 to 8."""
    yesterday.plan("demo")
    with duckdb.connect(str(yesterday.database)) as connection:
        connection.execute(
            "DELETE FROM ledger.meta WHERE name = 'schema_version' AND value::INTEGER BETWEEN 8 AND $1",
            [len(migrations())],
        )
        connection.execute("INSERT INTO ledger.meta VALUES ('schema_version', '7', now())")
    assert yesterday.run("demo").submitted == 0


# A value of each type that the tables of votes, files and local models have.
VALUES = {
    "VARCHAR": "'a \"word\" of é'",
    "UUID": "md5('a')::UUID",
    "SMALLINT": "7",
    "INTEGER": "70000",
    "BIGINT": "9007199254740993",
    "DOUBLE": "0.1",
    "VARCHAR[]": "['a', NULL]",
    "BOOLEAN": "true",
    "UUID[]": "[md5('a')::UUID]",
    "TIMESTAMP": "TIMESTAMP '2026-11-29 08:00:00.123456'",
    "JSON": """'{"a": 1}'::JSON""",
    "BLOB": "'\\x00\\xFF'::BLOB",
    'STRUCT(model VARCHAR, part VARCHAR, "valid" BOOLEAN, "document" JSON)[]': (
        """[{'model': 'm', 'part': '1', 'valid': true, 'document': '{"a": 1}'}]"""
    ),
}


def fill_tables_without_rows(path: Path) -> None:
    """Give each table that yesterday's runs know nothing of a row with a value in each column."""
    with duckdb.connect(str(path)) as connection:
        for name in ("local_answers", "local_models", "media", "part_decisions", "uploads", "votes"):
            types = connection.execute(f"SELECT column_type FROM (DESCRIBE ledger.{name})").fetchall()
            values = ", ".join(VALUES[kind] for (kind,) in types)
            connection.execute(f"INSERT INTO ledger.{name} VALUES ({values})")


def test_every_table_and_view_goes_through_parquet_bit_by_bit(yesterday: Yesterday) -> None:
    """Rows of before and of now, all columns compared as text."""
    yesterday.run("flying")
    yesterday.run("limited")
    fill_tables_without_rows(yesterday.database)
    connection = duckdb.connect(str(yesterday.database), read_only=True)
    names = connection.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'ledger' ORDER BY table_name"
    ).fetchall()
    assert len(names) == 21
    for (name,) in names:
        path = yesterday.root / f"{name}.parquet"
        connection.execute(f"COPY (SELECT * FROM ledger.{name}) TO '{path}'")
        as_text = "SELECT COLUMNS(*)::VARCHAR FROM {} ORDER BY ALL"
        before = connection.execute(as_text.format(f"ledger.{name}")).fetchall()
        assert connection.execute(as_text.format(f"'{path}'")).fetchall() == before, name
        assert before or name in ("orders",), name
        types = "SELECT column_name, replace(column_type, 'JSON', 'VARCHAR') FROM (DESCRIBE SELECT * FROM {})"
        kept = connection.execute(types.format(f"ledger.{name}")).fetchall()
        assert [
            (column, kind.replace("JSON", "VARCHAR"))
            for column, kind in connection.execute(types.format(f"'{path}'")).fetchall()
        ] == kept, name
        assert not [kind for _, kind in kept if "HUGEINT" in kind], name
    connection.close()
