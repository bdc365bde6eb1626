"""Make the page of the working tables from the code: `python tests/working_tables.py` writes it anew.

A table `work.NAME` lives in memory as long as one process. Its sentence is a comment beside the statement that makes
it: `-- work.NAME: One row is ...` in a `.sql` file and `# work.NAME: One row is ...` in Python.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from checkout import PACKAGE, module_files

PAGE = PACKAGE / "docs" / "reference" / "working_tables.md"
INTRODUCTION = """# Working tables

A command keeps what it works on in tables of an in-memory DuckDB, `work.NAME`: one step fills a table, and a later step
reads it. No working table is stored in the database file. A module is under "Written by" if it makes, fills, changes or
drops the table, and under "Read by" if a statement of it reads the table, or if it hands the table's name on.
`N` in a name is the number of a judged field. `python tests/working_tables.py` makes this page from the code.

| Table | One row | Written by | Read by |
|---|---|---|---|
"""
_BLOCK = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_DESCRIPTION = re.compile(r"(?:--|#) work\.(\w+): (One row is .+)")
_WRITES = re.compile(r"(?:TABLE|VIEW|INSERT INTO|DELETE FROM|UPDATE|DROP TABLE(?: IF EXISTS)?|IF EXISTS)\s+$")
# A hole of a template is `{...}`. A name with a hole is one table for each judged field; what is called is a macro.
_NAME = re.compile(r"\bwork\.((?=[a-z_{])[a-z_]*(?:\{\w*\})?)(?![a-z_(])")
NUMBERED = {"pairs_{number}": "pairs_N", "verdicts_{number}": "verdicts_N"}


@dataclass(slots=True)
class Use:
    """What one module or one named statement does with working tables; `unclear` are names with an unknown part."""

    described: dict[str, str] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)

    def take_text(self, text: str) -> None:
        """Add the tables that the SQL `text` names."""
        for found in _NAME.finditer(text):
            name = NUMBERED.get(found[1], found[1])
            if "{" in name:
                self.unclear.add(name)
                continue
            (self.written if _WRITES.search(text[: found.start()]) else self.read).add(name)

    def take_comment(self, comment: str) -> None:
        """Add the table that `comment` describes: what describes it makes it."""
        if found := _DESCRIPTION.search(comment):
            assert found[1] not in self.described, f"work.{found[1]} is described twice"
            self.described[found[1]] = found[2]
            self.written.add(found[1])

    def add(self, other: Use) -> None:
        """Add what `other` writes and reads."""
        self.written |= other.written
        self.read |= other.read


@dataclass(slots=True)
class WorkingTable:
    """A working table: the sentences on what one row is, the modules that write it and that read it."""

    sentences: list[str] = field(default_factory=list)
    writers: set[str] = field(default_factory=set)
    readers: set[str] = field(default_factory=set)


@cache
def statements() -> dict[str, Use]:
    """Return what each named statement of the `.sql` files does."""
    found = {}
    for path in sorted((PACKAGE / "store" / "queries").glob("*.sql")):
        pieces = _BLOCK.split(path.read_text(encoding="utf-8"))
        for name, text in zip(pieces[1::2], pieces[2::2], strict=True):
            use = found[name] = Use()
            lines = text.splitlines()
            for line in lines:
                use.take_comment(line)
            use.take_text("\n".join(line for line in lines if not line.lstrip().startswith("--")))
    return found


def texts_of(tree: ast.AST) -> Iterator[str]:
    """Yield the strings below `tree` that are no docstrings; a hole of an f-string is `{}`."""
    inner = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
        if isinstance(part, ast.Constant)
    }
    documentation = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inner | documentation:
            yield node.value


def statements_of(tree: ast.AST) -> set[str]:
    """Return the names of the statements that `query` is called with below `tree`."""
    called = {
        each.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "query"
        for each in ast.walk(node.args[0])
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }
    return called & statements().keys()


def use_of(tree: ast.AST) -> Use:
    """Return what the code below `tree` does with working tables."""
    use = Use()
    for text in texts_of(tree):
        use.take_text(text)
    for name in statements_of(tree):
        use.add(statements()[name])
    return use


def _use_of_module(path: Path) -> Use:
    text = path.read_text(encoding="utf-8")
    use = use_of(ast.parse(text))
    if "work." in text:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                use.take_comment(token.string)
    return use


@cache
def uses() -> dict[str, Use]:
    """Return what each module of the package does with working tables."""
    return {module: _use_of_module(path) for module, path in module_files().items()}


def working_tables() -> dict[str, WorkingTable]:
    """Return every working table by its name."""
    found: defaultdict[str, WorkingTable] = defaultdict(WorkingTable)
    for use in statements().values():
        for name, sentence in use.described.items():
            found[name].sentences.append(sentence)
    for module, use in uses().items():
        for name, sentence in use.described.items():
            found[name].sentences.append(sentence)
        for name in use.written:
            found[name].writers.add(module)
        for name in use.read:
            found[name].readers.add(module)
    return dict(sorted(found.items()))


def page() -> str:
    """Return the page of the working tables as Markdown."""
    lines = []
    for name, table in working_tables().items():
        modules = (", ".join(f"`{each}`" for each in sorted(group)) for group in (table.writers, table.readers))
        lines.append(" | ".join([f"| `work.{name}`", " ".join(table.sentences), *modules]) + " |\n")
    return INTRODUCTION + "".join(lines)


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
