"""The README is true: its tables are the code's, its commands work, its session prints what it shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest
from checkout import ROOT, batchpipe, copy_examples

from batchpipe.common import errors
from batchpipe.engine.plan.plan import DUE_REASONS, REASONS
from batchpipe.lint.rules import rules_table
from batchpipe.pipeline.load import load
from batchpipe.pipeline.reference import keys_table
from batchpipe.project.settings import Settings

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (
    "init",
    "new",
    "check",
    "plan",
    "run",
    "status",
    "try",
    "show",
    "results",
    "report",
    "eval",
    "diff",
    "review",
    "cancel",
    "recover",
    "emulator",
    "schema",
)
# What differs from run to run and from price list to price list.
VARYING = (
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"\bmsgbatch_\w+"), "BATCH"),
    (re.compile(r"(?:under )?\$[\d,.]*\d"), "MONEY"),
)


def block(language: str, after: str) -> str:
    """The first code block of a language after a marker."""
    found = re.search(rf"{re.escape(after)}.*?\n```{language}\n(.*?)```\n", README, re.DOTALL)
    assert found is not None, f"no {language} block after {after}"
    return found[1]


def section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", README, re.DOTALL | re.MULTILINE)
    assert found is not None, f"no section {title}"
    return found[1]


def table(text: str) -> list[list[str]]:
    """The cells of the first table of a text, less its header."""
    lines = text[text.index("| ") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def code_words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def session(commands: Sequence[str], root: Path) -> str:
    """Each command and what it prints, as a terminal that is none shows it."""
    shown = []
    tool = f'batchpipe() {{ {shlex.quote(sys.executable)} -m batchpipe "$@"; }}\n'
    for command in commands:
        ended = subprocess.run(
            ["sh", "-c", tool + command],
            cwd=root,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout
        shown.append(f"$ {command}\n{ended.stdout}")
    return "\n".join(shown)


def settings_rows() -> list[str]:
    """The table of settings out of the settings themselves."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory or field.default is None else f"`{field.default}`"
        rows.append(f"| `{name}` | {default} | {field.description} |")
    return rows


def without_what_varies(text: str) -> str:
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return text


def test_the_table_of_keys_is_the_generated_one() -> None:
    found = re.search(r"<!-- keys: .*? -->\n(.*?)<!-- /keys -->", README, re.DOTALL)
    assert found is not None
    assert found[1] == keys_table()


def test_the_table_of_warnings_is_the_generated_one() -> None:
    found = re.search(r"<!-- rules: .*? -->\n(.*?)<!-- /rules -->", README, re.DOTALL)
    assert found is not None
    assert found[1] == rules_table()


def test_the_table_of_settings_is_that_of_the_settings() -> None:
    assert [line for line in section("Settings").splitlines() if line.startswith("| `")] == settings_rows()


def test_every_command_is_in_the_readme_and_has_help(tmp_path: Path) -> None:
    listed = [code_words(first)[0].split()[0] for first, _ in table(section("Commands"))]
    assert sorted(listed) == sorted(COMMANDS)
    shown = batchpipe("--help", cwd=tmp_path)
    assert shown.returncode == 0
    offered = re.findall(r"^│ ([a-z]+) {2,}\S", shown.stdout, re.MULTILINE)
    assert sorted(offered) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_help(command: str, tmp_path: Path) -> None:
    shown = batchpipe(command, "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert f"batchpipe {command}" in shown.stdout


def test_every_option_of_run_is_in_the_readme_and_the_other_way_round(tmp_path: Path) -> None:
    help_text = batchpipe("run", "--help", cwd=tmp_path).stdout
    offered = set(re.findall(r"^│ (--[a-z-]+)", help_text, re.MULTILINE)) - {"--help", "--all", "--json"}
    named = {
        word.split()[0] for first, _ in table(README[README.index("What `run` takes") :]) for word in code_words(first)
    }
    assert named == offered


def test_exit_codes_are_those_of_the_errors() -> None:
    rows = {int(code): code_words(words) for code, _, words in table(section("Exit codes"))}
    assert sorted(rows) == [0, 1, 2, 3, 4, 5, 6, 70, 130]
    raised = {
        (each.exit_code, each.code)
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.BatchpipeError)
    }
    named = {(code, word) for code, words in rows.items() for word in words}
    assert named == raised | {(130, "interrupted")}


def test_every_word_of_a_plan_is_explained() -> None:
    rows = {code_words(word)[0]: sent for word, _, sent in table(section("What makes a row due"))}
    assert tuple(rows) == REASONS
    assert tuple(word for word, sent in rows.items() if sent == "yes") == DUE_REASONS


def test_the_pipeline_parses_and_runs(tmp_path: Path) -> None:
    text = block("toml", "<!-- pipeline: queues -->")
    assert len([line for line in text.splitlines() if line.strip()]) < 20
    root = copy_examples(tmp_path)
    path = root / "pipelines" / "queues.toml"
    path.write_text(text, encoding="utf-8")
    assert load(path, root).pipeline.name == "queues"
    ended = batchpipe("run", "queues", "--emulator", cwd=root)
    assert ended.returncode == 0, ended.stderr


def test_the_session_prints_what_it_shows_and_the_queries_work(tmp_path: Path) -> None:
    shown = block("console", "## A run")
    commands = [line[2:] for line in shown.splitlines() if line.startswith("$ ")]
    root = copy_examples(tmp_path)
    printed = session(commands, root)
    assert without_what_varies(printed) == without_what_varies(shown)
    with duckdb.connect(str(root / ".batchpipe/emulator/batchpipe.duckdb"), read_only=True) as database:
        for statement in duckdb.extract_statements(block("sql", "<!-- queries -->")):
            database.execute(statement).fetchall()


def test_the_commands_around_an_edit_work(tmp_path: Path) -> None:
    root = copy_examples(tmp_path)
    session(["batchpipe run ticket_triage --emulator"], root)
    template = root / "prompts" / "ticket_triage" / "user.md.j2"
    template.write_text("A ticket:\n" + template.read_text(encoding="utf-8"), encoding="utf-8")
    printed = session(block("sh", "<!-- commands: edit -->").splitlines(), root)
    assert "+A ticket:" in printed
    assert "answered on both sides  60 rows" in printed
    assert "</html>" in (root / "diff.html").read_text(encoding="utf-8")
    assert "```diff" in (root / "plan.md").read_text(encoding="utf-8")


def test_every_column_and_table_is_described(tmp_path: Path) -> None:
    root = copy_examples(tmp_path)
    assert batchpipe("run", "meeting_summaries", "--emulator", cwd=root).returncode == 0
    with duckdb.connect(str(root / ".batchpipe/emulator/batchpipe.duckdb"), read_only=True) as database:
        described = database.execute("SELECT column_name FROM (DESCRIBE meeting_summaries)").fetchall()
        columns = [name for (name,) in described if name.startswith("_")]
        named = section("Tables").split("| Table or view |")
        assert sorted(word for first, _ in table(named[0]) for word in code_words(first)) == sorted(columns)
        for first, _ in table("| Table or view |" + named[1]):
            database.execute(f"SELECT * FROM {code_words(first)[0]} LIMIT 1")


def test_every_file_that_it_names_is_there() -> None:
    names = set(re.findall(r"\btests/\w+/\w+\.py", README))
    assert names
    assert sorted(name for name in names if not (ROOT / name).is_file()) == []


def test_the_two_commands_are_one_line_each() -> None:
    for name in ("try", "test"):
        (line,) = block("sh", f"<!-- command: {name} -->").splitlines()
        assert line.startswith("python3 -m venv .venv && ")


def test_the_ci_job_is_the_one_that_init_writes(tmp_path: Path) -> None:
    assert batchpipe("init", cwd=tmp_path).returncode == 0
    written = (tmp_path / ".github" / "workflows" / "batchpipe.yml").read_text(encoding="utf-8")
    commands = re.findall(r"- run: (.+)", block("yaml", "## Every night"))
    assert commands == re.findall(r"- run: (.+)", written)


def test_the_description_of_the_package_is_in_its_metadata() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["readme"] == "README.md"
    assert project["description"]
