"""Make the reference pages from the code: `python tests/reference_pages.py` writes what stands between their markers.

A page under `batchpipe/docs/` has lines `<!-- made: NAME -->` and `<!-- /made -->`; what is between them is a table of
the code's own keys, commands, settings, checks, tables or pages. `llms.txt` and `SKILL.md` are made whole.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import typer
from checkout import PACKAGE, ROOT
from typer.main import get_command

from batchpipe.cli.parser import app
from batchpipe.commands.docs.pages import pages_by_kind
from batchpipe.lint.rules import rules_table
from batchpipe.pipeline.reference import keys_table
from batchpipe.project.provider_tables import ProviderLimits, ProviderTable
from batchpipe.project.settings import Settings

DOCS = PACKAGE / "docs"
MEANINGS = Path(__file__).with_name("column_meanings.toml")
MADE = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- /made -->)", re.DOTALL)


def settings_table() -> str:
    """Return the table of settings out of the settings' own fields."""
    lines = ["| Setting | Environment | Default | Meaning |", "| --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory or field.default is None else f"`{field.default}`"
        lines.append(f"| `{name}` | `BATCHPIPE_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def provider_keys() -> str:
    """Return the table of the keys of a provider's table in the settings."""
    lines = ["| Key | Default | Meaning |", "| --- | --- | --- |"]
    for name, field in ProviderTable.model_fields.items():
        default = "" if field.default_factory or field.default is None else f"`{field.default}`"
        lines.append(f"| `{name}` | {default} | {field.description} |")
    lines += [f"| `limits.{name}` |  | {field.description} |" for name, field in ProviderLimits.model_fields.items()]
    return "\n".join(lines) + "\n"


def commands_text() -> str:
    """Return every command with its usage, arguments and options, out of the parser."""
    main: Any = get_command(app)
    context = typer.Context(main, info_name="batchpipe")
    parts = ["## Options of every command\n\n" + _options_table(main)]
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        shown = [f"## {name}", "", _plain(command.help or ""), "", f"`batchpipe {name}{_usage(command)}`", ""]
        parts.append("\n".join(shown) + "\n" + _options_table(command))
    return "\n".join(parts)


def _usage(command: Any) -> str:
    words = []
    for each in command.params:
        if each.param_type_name == "argument":
            word = f"{each.metavar}{'...' if each.nargs == -1 else ''}"
            words.append(f" {word}" if each.required else f" [{word}]")
    return "".join(words)


def _options_table(command: Any) -> str:
    lines = ["| Option | Does |", "| --- | --- |"]
    for each in command.params:
        if each.param_type_name != "option" or each.name == "help":
            continue
        value = "" if each.is_flag or not each.metavar else f" {each.metavar}"
        names = ", ".join(f"`{name}{value}`" for name in each.opts)
        lines.append(f"| {names} | {_plain(each.help or '')} |".replace("  ", " "))
    return "\n".join(lines) + "\n" if len(lines) > 2 else "It has no options.\n"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("\\[", "[").replace("|", "\\|")


def ledger_columns() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each table and view of a new ledger, with the names and types of its columns."""
    with duckdb.connect() as connection:
        for file in sorted((PACKAGE / "store" / "migrations").glob("*.sql")):
            for statement in duckdb.extract_statements(file.read_text(encoding="utf-8")):
                connection.execute(statement.query)
        names = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'ledger' "
            "ORDER BY table_type, table_name"
        ).fetchall()
        for (name,) in names:
            described = connection.execute(f'DESCRIBE ledger."{name}"').fetchall()
            yield name, [(column, type_) for column, type_, *_ in described]


def meaning(meanings: Mapping[str, Mapping[str, str]], table: str, column: str) -> str:
    """Return what a column holds. Raises KeyError where neither its table nor `[any]` says it."""
    return meanings.get(table, {}).get(column) or meanings["any"][column]


def tables_text() -> str:
    """Return every table and view of the ledger with its columns, their types and what they hold."""
    meanings = tomllib.loads(MEANINGS.read_text(encoding="utf-8"))
    parts = []
    for table, columns in ledger_columns():
        lines = [
            f"## ledger.{table}",
            "",
            meanings["tables"][table],
            "",
            "| Column | Type | Holds |",
            "| --- | --- | --- |",
        ]
        lines += [f"| `{name}` | {type_} | {meaning(meanings, table, name)} |" for name, type_ in columns]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def llms_text() -> str:
    """Return the list of pages for programs that read them: a line a page, with its first sentence."""
    lines = [
        "# batchpipe",
        "",
        "> A declarative runner for LLM batch APIs: a pipeline is a TOML file, rows live in DuckDB, batches cost half, "
        "nothing is paid twice. Start with SKILL.md to write a pipeline.",
        "",
    ]
    for title, pages in pages_by_kind():
        lines += ["", f"## {title}", ""]
        lines += [f"- [{page.title}]({page.topic}.md): {page.summary}" for page in pages]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def skill_text() -> str:
    """Return the skill file: the guide for coding agents, and the keys of the pipeline file."""
    guide = (DOCS / "guides" / "agents.md").read_text(encoding="utf-8")
    head = (
        "---\nname: batchpipe\ndescription: Write, check, plan and run a batchpipe pipeline, which asks a prompt of "
        "every row of a table through an LLM batch API.\n---\n\n"
    )
    return f"{head}{guide.replace('](../', '](')}\n## Every key of the pipeline file\n\n{keys_table()}"


MAKERS: Mapping[str, Callable[[], str]] = {
    "checks": rules_table,
    "commands": commands_text,
    "keys": keys_table,
    "providers": provider_keys,
    "settings": settings_table,
    "tables": tables_text,
}


def made_pages() -> dict[Path, str]:
    """Return every page that holds something made, and the two files that are made whole, as they should be."""
    found = {}
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        new = MADE.sub(lambda match: f"{match[1]}{MAKERS[match[2]]()}{match[3]}", text)
        if MADE.search(text):
            found[path] = new
    found[DOCS / "llms.txt"] = llms_text()
    found[DOCS / "SKILL.md"] = skill_text()
    return found


if __name__ == "__main__":
    for path, text in made_pages().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))  # noqa: T201
