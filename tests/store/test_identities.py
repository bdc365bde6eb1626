"""Identities are UUIDs everywhere: no number of 128 bits is left in the code, nor in a table or a view."""

from __future__ import annotations

import re
from hashlib import md5
from pathlib import Path
from uuid import UUID

import batchpipe
from batchpipe.common.machine import utc_now
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Database, Work

PACKAGE = Path(batchpipe.__file__).parent
NUMBERS = re.compile(r"U?HUGEINT|md5_number", re.IGNORECASE)
# The types that a column of a person's own may have.
OF_PEOPLE = {
    "sql/types.py",
    "engine/source/snapshot.py",
    "commands/results/results.py",
    "engine/output/labels.py",
    "commands/results/spreadsheet.py",
}
# The draw of a sample splits such numbers within its statement: none is stored or written as text.
DRAWS = "store/queries/review.sql"


def test_no_number_of_128_bits_is_left_in_code_and_statements() -> None:
    looked_at = [
        path
        for path in sorted(PACKAGE.rglob("*"))
        if path.suffix in (".py", ".sql") and "migrations" not in path.parts
        if path.relative_to(PACKAGE).as_posix() not in (*OF_PEOPLE, DRAWS)
    ]
    assert len(looked_at) > 150
    found = [path.name for path in looked_at if NUMBERS.search(path.read_text(encoding="utf-8"))]
    assert found == []
    draws = (PACKAGE / DRAWS).read_text(encoding="utf-8")
    assert "number::" not in draws
    assert "CAST(number" not in draws
    for name in OF_PEOPLE:
        assert "md5_number" not in (PACKAGE / name).read_text(encoding="utf-8")


def test_no_table_and_no_view_of_the_ledger_has_such_a_number(tmp_path: Path) -> None:
    database, work = Database(path=tmp_path / "batchpipe.duckdb", clock=utc_now), Work.open()
    with database.reading(work) as session:
        columns = session.rows(
            Sql("SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE schema_name = 'ledger'")
        )
    work.close()
    assert len({table for table, _, _ in columns}) == 21
    assert [each for each in columns if "HUGEINT" in each[2]] == []
    hashes = [each for each in columns if each[1] == "key_id" or each[1].endswith(("_hash", "fingerprint"))]
    assert len(hashes) > 15
    assert {kind for _, name, kind in hashes if not name.startswith("key_hash")} == {"UUID"}


def test_rows_are_drawn_in_the_order_of_the_number_that_schema_version_1_had() -> None:
    work = Work.open()
    keys = [f'["{number}"]' for number in range(2_000)]
    found = work.connection.execute(
        Sql("SELECT key FROM (SELECT unnest($1::VARCHAR[]) AS key) ORDER BY work.draw_order(md5(key)::UUID)"), [keys]
    ).fetchall()
    wanted = sorted(keys, key=lambda key: int.from_bytes(md5(key.encode()).digest(), "little"))
    assert [key for (key,) in found] == wanted
    turned = work.connection.execute(Sql("SELECT work.draw_order($1::UUID)"), [str(UUID(int=0xFF))]).fetchone()
    assert turned == ("ff" + "00" * 15,)
    work.close()
