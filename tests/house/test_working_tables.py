"""The map of the working tables: each has one name, one sentence, who writes it and who reads it."""

from __future__ import annotations

from working_tables import PAGE, page, statements, uses, working_tables

NEW_PAGE = "python tests/working_tables.py writes the page anew"


def test_every_working_table_has_a_name_that_can_be_read_in_the_code() -> None:
    unclear = {
        name: sorted(use.unclear) for group in (statements(), uses()) for name, use in group.items() if use.unclear
    }
    assert unclear == {}


def test_every_working_table_has_one_sentence() -> None:
    found = {name: table.sentences for name, table in working_tables().items() if len(table.sentences) != 1}
    assert found == {}


def test_every_working_table_is_written_and_read() -> None:
    tables = working_tables()
    assert len(tables) > 80
    assert [name for name, table in tables.items() if not table.writers] == []
    assert [name for name, table in tables.items() if not table.readers] == []


def test_the_page_lists_every_working_table_with_its_writers_and_readers() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), NEW_PAGE
