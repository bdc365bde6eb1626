"""Tests of the files to copy, without the programs that they are for; `python -m tests.guides` has those."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import batchpipe
from guides.page import DOCS, PAGE, shown

FILES = sorted(each for each in (DOCS / "orchestrators").iterdir() if each.is_file())


def test_the_page_shows_each_file_as_it_is() -> None:
    assert shown(PAGE.read_text("utf-8")) == {path.name: path.read_text("utf-8") for path in FILES}


@pytest.mark.parametrize("path", [each for each in FILES if each.suffix == ".py"], ids=lambda path: path.name)
def test_a_program_uses_only_what_the_library_has(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "batchpipe"
    }
    assert used
    assert used <= set(batchpipe.__all__)
