"""The map of the working tables: each has one name, one sentence, who writes it and who reads it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from checkout import PACKAGE
from working_tables import PAGE, page, statements, use_of, uses, working_tables

NEW_PAGE = "python tests/working_tables.py writes the page anew"
NAMED = re.compile(r"\bwork\.(\w+)")
ROOMS_WITH_STEPS = ("engine", "commands")


def _named(function: ast.FunctionDef) -> set[str]:
    """Return the working tables that the docstring of `function` names."""
    return set(NAMED.findall(ast.get_docstring(function) or ""))


def _uses(function: ast.FunctionDef, name: str) -> bool:
    """Return whether the code of `function` contains the name `name`, alone or after a dot."""
    return any(name in (getattr(node, "id", None), getattr(node, "attr", None)) for node in ast.walk(function))


def _steps() -> Iterator[tuple[str, ast.FunctionDef, set[str]]]:
    """Yield each function and method with its place, and the working tables that are named for it.

    These are the tables in its docstring; for a private one also those in the docstring of a function of the same
    module that uses it.
    """
    for path in sorted(path for room in ROOMS_WITH_STEPS for path in (PACKAGE / room).rglob("*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        inner = [each for node in body for each in (node.body if isinstance(node, ast.ClassDef) else [node])]
        functions = [each for each in inner if isinstance(each, ast.FunctionDef)]
        for function in functions:
            speaking = [function]
            if function.name.startswith("_"):
                speaking += [each for each in functions if _uses(each, function.name)]
            place = f"{path.relative_to(PACKAGE)} {function.name}"
            yield place, function, {name for each in speaking for name in _named(each)}


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


def test_a_step_says_in_its_docstring_which_working_tables_its_statements_use() -> None:
    steps = 0
    silent = {}
    for place, function, named in _steps():
        use = use_of(function)
        steps += bool(use.read | use.written)
        if unnamed := (use.read | use.written) - named:
            silent[place] = sorted(unnamed)
    assert steps > 100
    assert silent == {}


def test_every_working_table_that_a_docstring_names_is_one() -> None:
    unknown = {place: names for place, _, named in _steps() if (names := named - working_tables().keys())}
    assert unknown == {}
