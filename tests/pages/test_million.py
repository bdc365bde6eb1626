"""The pages over a million answered rows: first paints, the opening of the desk, and a thousand words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from helpers.copies import COPIES
from projects import BASIC, Project, numbered
from starlette.testclient import TestClient

from batchpipe.pages.desk.counter import COMMIT_SECONDS
from pages.shown import WRITE, client_of

ROWS = 1_000_000
ANSWERED = 5
SAMPLED = BASIC + "\n[review]\nsample = 0.05\n"
PAGES = (
    "/",
    "/batches",
    "/spend",
    "/chains",
    "/p/demo",
    "/p/demo/rows",
    "/p/demo/rows?state=failed",
    "/p/demo/rows?where=score%3E0.9",
    "/p/demo/rows?offset=900000",
    "/p/demo/row/77",
    "/p/demo/quality",
    "/p/demo/versions",
    "/p/demo/plan",
    "/p/demo/pilot",
    "/p/demo/runs",
    "/p/demo/review",
)
# Bounds of a machine that does nothing else. One that runs other tests beside this one has more time on the clock, and
# more seconds of CPU, of which two cores have two in each second: what runs beside shares the memory and its caches.
PAINT_SECONDS, DESK_SECONDS = 0.5, 2.0
BUSY, BUSY_CPU = 4.0, 2.0
WORDS, GROUP, WORDS_A_MINUTE = 1_000, 30, 1_000
CHANGES = {"label": "bug", "score": "0.5"}  # the copied answers are no documents of the schema


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    root: Path = tmp_path_factory.mktemp("million") / "demo"
    root.mkdir()
    project = Project(root)
    project.rows(numbered(ANSWERED))
    project.pipeline(SAMPLED)
    assert project.run().submitted == ANSWERED
    with duckdb.connect(str(root / "batchpipe.duckdb")) as database:
        numbered_tables = database.execute(
            "SELECT table_name, column_name FROM duckdb_columns() JOIN duckdb_tables() USING (schema_name, table_name) "
            "WHERE schema_name = 'ledger' AND column_name IN ('seq', 'started')"
        ).fetchall()
        for table, column in numbered_tables:
            database.execute(f"UPDATE ledger.{table} SET {column} = {column} * 1000")
        for statement in duckdb.extract_statements(COPIES.format(first=ANSWERED + 1, last=ROWS + 1)):
            database.execute(statement)
        database.execute(
            "INSERT INTO demo SELECT d.* REPLACE (n AS id, d._custom_id || '-' || n AS _custom_id) "
            f"FROM demo d, range({ANSWERED + 1}, {ROWS + 1}) t(n) WHERE d.id = 1 ORDER BY n"
        )
    duckdb.execute(
        f"COPY (SELECT n AS id, 'text number ' || n AS body, 'en' AS lang, n % 10 AS amount "
        f"FROM range(1, {ROWS} + 1) t(n)) TO '{root / 'rows.csv'}' (HEADER)"
    )
    yield project
    project.close()


def seconds_of(act: Callable[[], Any]) -> tuple[float, Any]:
    began = time.monotonic()
    found = act()
    return time.monotonic() - began, found


def post(client: TestClient, path: str, body: Any) -> Any:
    answer = client.post(path, headers=WRITE, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def say(client: TestClient, rows: Sequence[Mapping[str, Any]], said: list[str]) -> None:
    words = [{"id": row["key"], "key": row["key"], "token": row["token"], "changes": CHANGES} for row in rows]
    results = post(client, "/p/demo/review/words", {"words": words})["results"]
    assert {(each["outcome"], each["message"]) for each in results} == {("corrected", "")}
    said += [each["key"] for each in results]


@pytest.mark.proof
def test_pages_and_desk_over_a_million_rows(million: Project, full_sweep: bool) -> None:
    slack, slack_cpu = (1.0, 1.0) if full_sweep else (BUSY, BUSY_CPU)
    with client_of(million) as client:
        paints = {}
        for path in PAGES:
            paints[path], answer = seconds_of(partial(client.get, path))
            assert answer.status_code == 200
        wholes = {}
        for path in PAGES[:-1]:
            wholes[path], answer = seconds_of(partial(client.get, path, headers={"hx-request": "true"}))
            assert answer.status_code in (200, 204)
            assert "It cannot be shown" not in answer.text
        before = time.process_time()
        opened, found = seconds_of(partial(post, client, "/p/demo/review/take", {"number": 60, "have": []}))
        opened_cpu = time.process_time() - before
        rows = found["rows"]
        assert found["progress"]["rows"] > 40_000
        said: list[str] = []
        taken = []
        say(client, [rows.pop(0)], said)  # with the first word the table is written that SQL has made above
        began, before = time.monotonic(), time.process_time()
        while len(said) <= WORDS:
            say(client, rows[:GROUP], said)
            rows = rows[GROUP:]
            if len(rows) < GROUP:
                have = [row["key"] for row in rows]
                lasted, found = seconds_of(partial(post, client, "/p/demo/review/take", {"number": 60, "have": have}))
                taken.append(lasted)
                rows += found["rows"]
        minutes = (time.monotonic() - began) / 60
        quiet_minutes = (time.process_time() - before + WORDS / GROUP * COMMIT_SECONDS) / 60
    print(f"\nfirst paints {paints}\nwhole {wholes}")  # noqa: T201
    print(f"desk: {opened:.2f} s, {opened_cpu:.2f} s of CPU; 60 rows in {max(taken):.2f} s at most")  # noqa: T201
    print(f"{WORDS / minutes:.0f} words a minute, {WORDS / quiet_minutes:.0f} where nothing else runs")  # noqa: T201
    assert million.sql("SELECT count(*), count(DISTINCT key) FROM ledger.reviews") == [(len(said), len(said))]
    assert max(paints.values()) < PAINT_SECONDS * slack
    assert min(opened, opened_cpu / 2) < DESK_SECONDS * slack_cpu
    assert WORDS / min(minutes, quiet_minutes) > WORDS_A_MINUTE / slack_cpu
