"""The pages and the README are true: what they name exists, their commands work, their sessions print what is shown."""

from __future__ import annotations

import json
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
from checkout import PACKAGE, ROOT, batchpipe, copy_examples
from reference_pages import ledger_columns, made_pages
from typer.main import get_command

from batchpipe.cli.parser import app
from batchpipe.commands.docs.pages import read_pages
from batchpipe.common import errors
from batchpipe.engine.plan.plan import DUE_REASONS, REASONS
from batchpipe.lint.rules import RULES
from batchpipe.pipeline.load import load
from batchpipe.pipeline.reference import keys_table
from batchpipe.project.settings import Settings

DOCS = PACKAGE / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README.md": README} | {f"{page.topic}.md": page.text for page in read_pages()}
LONGEST_README, MOST_WORDS = 180, 1_200
# What differs from run to run and from price list to price list.
VARYING = (
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"\bmsgbatch_\w+"), "BATCH"),
    (re.compile(r"(?:under )?\$[\d,.]*\d"), "MONEY"),
)
FENCE = re.compile(r"^(?:<!-- ([\w: ]+?) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")
ELSEWHERE = {"--no-deps", "--wheel-dir", "--full", "--profile", "--save", "--draw", "--add", "--repeat", "--row-bytes",
             "--chunk", "--no-sdk-loop", "--full-sweep", "--part", "--day", "--proofs", "--measure", "--seeds",
             "--seconds", "--body-file", "--create-if-none", "--edit-last", "--now", "--user"}  # fmt: skip


def page(topic: str) -> str:
    return PAGES[f"{topic}.md"]


def blocks(text: str, language: str, marker: str | None = None) -> list[str]:
    """The code blocks of a language, with `marker` those that stand below it."""
    return [body for found, kind, body in FENCE.findall(text) if kind == language and marker in (None, found)]


def table(text: str) -> list[list[str]]:
    """The cells of the first table of a text, less its header."""
    lines = text[text.index("| ") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:] if line.startswith("|")]


def code_words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def commands() -> dict[str, set[str]]:
    """Every command with its options; those of batchpipe itself stand under ""."""
    main = get_command(app)
    found = {"": {name for each in main.params for name in each.opts}}
    for name, command in main.commands.items():  # type: ignore[attr-defined]
        found[name] = {option for each in command.params if each.param_type_name == "option" for option in each.opts}
    return found


def session(typed: Sequence[str], root: Path) -> str:
    """Each command and what it prints, as a terminal that is none shows it."""
    shown = []
    tool = f'batchpipe() {{ {shlex.quote(sys.executable)} -m batchpipe "$@"; }}\n'
    for command in typed:
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
    return "".join(shown)


def without_what_varies(text: str) -> str:
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return text


def test_the_readme_is_a_front_page() -> None:
    assert len(README.splitlines()) <= LONGEST_README
    assert len(README.split()) <= MOST_WORDS


def test_the_pages_are_as_the_code_makes_them() -> None:
    differing = [
        path.relative_to(ROOT).as_posix() for path, text in made_pages().items() if path.read_text("utf-8") != text
    ]
    assert differing == [], "python tests/reference_pages.py"


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    folder = ROOT if name == "README.md" else (DOCS / name).parent
    missing = [link for link in LINK.findall(PAGES[name]) if not (folder / link).exists()]
    assert missing == []


@pytest.mark.parametrize("name", PAGES)
def test_every_command_and_option_that_a_page_names_exists(name: str) -> None:
    known = commands()
    offered = set().union(*known.values()) | {"--help"} | ELSEWHERE
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGES[name])) - offered == set()
    typed = [line for kind in ("sh", "console") for body in blocks(PAGES[name], kind) for line in body.splitlines()]
    inline = re.findall(r"(?<!`)`(batchpipe [^`\n]+)`", PAGES[name])
    called = set(re.findall(r"^(?:\$ )?batchpipe ([a-z]+)\b", "\n".join([*typed, *inline]), re.MULTILINE))
    assert called - known.keys() == set()


def test_the_skill_begins_with_what_it_is_for() -> None:
    """Its head is read as YAML: two plain values, in which a colon would end the key."""
    _, head, text = (DOCS / "SKILL.md").read_text(encoding="utf-8").split("---\n", 2)
    lines = dict(line.split(": ", 1) for line in head.splitlines())
    assert list(lines) == ["name", "description"]
    assert not any(": " in value or " #" in value for value in lines.values())
    assert keys_table() in text


def test_every_picture_is_there_and_holds_something() -> None:
    pictures = [
        folder / link
        for name, folder in ((each, ROOT if each == "README.md" else (DOCS / each).parent) for each in PAGES)
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGES[name])
    ]
    assert len(pictures) >= 2
    assert [path for path in pictures if "</svg>" not in path.read_text(encoding="utf-8")] == []


def test_every_page_begins_with_a_title_and_a_sentence() -> None:
    wrong = [each.topic for each in read_pages() if not each.text.startswith("# ") or len(each.summary) < 20]
    assert wrong == []


def test_every_command_and_option_is_documented_and_has_help(tmp_path: Path) -> None:
    text = page("reference/commands")
    for name, options in commands().items():
        part = text[text.index(f"## {name}" if name else "## Options of every command") :].split("\n## ")[0]
        named = {word.split()[0] for word in code_words(part)}
        assert options - {"--help", "-h"} <= named, name
    shown = batchpipe("--help", cwd=tmp_path)
    assert shown.returncode == 0
    offered = re.findall(r"^│ ([a-z]+) {2,}\S", shown.stdout, re.MULTILINE)
    assert sorted(offered) == sorted(name for name in commands() if name)


@pytest.mark.parametrize("command", [name for name in commands() if name])
def test_a_command_has_help(command: str, tmp_path: Path) -> None:
    shown = batchpipe(command, "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert f"batchpipe {command}" in shown.stdout


def test_every_setting_key_and_check_is_documented() -> None:
    assert {code_words(row[0])[0] for row in table(page("reference/settings"))} == set(Settings.model_fields)
    assert keys_table() in page("reference/pipeline_file")
    assert [row[0] for row in table(page("reference/checks"))] == [each.code for each in RULES]


def test_exit_codes_are_those_of_the_errors() -> None:
    rows = {int(code): code_words(words) for code, _, words in table(page("reference/exit_codes"))}
    assert sorted(rows) == [0, 1, 2, 3, 4, 5, 6, 70, 130]
    raised = {
        (each.exit_code, each.code)
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.BatchpipeError)
    }
    named = {(code, word) for code, words in rows.items() for word in words}
    assert named == raised | {(130, "interrupted")}


def test_every_word_of_a_plan_is_explained() -> None:
    rows = {code_words(word)[0]: sent for word, _, sent in table(page("concepts/due"))}
    assert tuple(rows) == REASONS
    assert tuple(word for word, sent in rows.items() if sent == "yes") == DUE_REASONS


def test_every_table_and_column_is_documented(tmp_path: Path) -> None:
    root = copy_examples(tmp_path)
    assert batchpipe("run", "meeting_summaries", "--emulator", cwd=root).returncode == 0
    text = page("reference/tables")
    with duckdb.connect(str(root / ".batchpipe/emulator/batchpipe.duckdb"), read_only=True) as database:
        described = database.execute("SELECT column_name FROM (DESCRIBE meeting_summaries)").fetchall()
        columns = [name for (name,) in described if name.startswith("_")]
        assert sorted(word for first, _ in table(text) for word in code_words(first)) == sorted(columns)
        for name, of_ledger in ledger_columns():
            part = text[text.index(f"## ledger.{name}\n") :].split("\n## ")[0]
            assert [code_words(row[0])[0] for row in table(part)] == [column for column, _ in of_ledger]
            listed = [column for column, *_ in database.execute(f"DESCRIBE ledger.{name}").fetchall()]
            assert listed == [column for column, _ in of_ledger]
        for statement in duckdb.extract_statements(blocks(page("concepts/tables"), "sql", "queries")[0]):
            if "ticket_triage" not in statement.query:
                database.execute(statement).fetchall()


def test_the_architecture_names_files_that_hold_what_it_says() -> None:
    rows = table(page("reference/architecture").partition("## Where a change belongs")[2])
    assert len(rows) >= 10
    for change, files, name in rows:
        paths = [PACKAGE / each for each in code_words(files) if "/" in each]
        assert paths, change
        assert [each for each in paths if not each.exists()] == [], change
        (wanted,) = code_words(name)
        found = "".join(each.read_text("utf-8") for each in paths if each.is_file())
        assert wanted in found, change
    listed = [code_words(row[0])[0] for row in table(page("reference/architecture"))]
    assert [each for each in listed if not (PACKAGE / each).exists()] == []
    rooms = {each.rstrip("/") for each in listed if each.endswith("/")}
    folders = {
        each.parent.relative_to(PACKAGE).as_posix()
        for each in PACKAGE.rglob("__init__.py")
        if len(each.relative_to(PACKAGE).parts) == 2 or each.parent.parent == PACKAGE / "engine"
    }
    assert rooms == folders - {"engine"}


@pytest.mark.parametrize("name", [name for name in PAGES if blocks(PAGES[name], "toml")])
def test_pipelines_on_a_page_parse_and_run(name: str, tmp_path: Path) -> None:
    for marker, kind, text in FENCE.findall(PAGES[name]):
        if kind == "toml":
            tomllib.loads(text)
        if kind == "toml" and marker.startswith("pipeline: "):
            root = copy_examples(tmp_path / marker[10:])
            path = root / "pipelines" / f"{marker[10:]}.toml"
            path.write_text(text, encoding="utf-8")
            assert load(path, root).pipeline.name == marker[10:]
            ended = batchpipe("run", marker[10:], "--emulator", cwd=root)
            assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("name", [name for name in PAGES if "$ batchpipe" in PAGES[name]])
def test_a_session_prints_what_it_shows(name: str, tmp_path: Path) -> None:
    for number, shown in enumerate(blocks(PAGES[name], "console")):
        root = copy_examples(tmp_path / str(number))
        printed = session([line[2:] for line in shown.splitlines() if line.startswith("$ ")], root)
        assert without_what_varies(printed) == without_what_varies(shown)


@pytest.mark.parametrize("name", [name for name in PAGES if blocks(PAGES[name], "sh", "run")])
def test_commands_that_need_nothing_work(name: str, tmp_path: Path) -> None:
    root = copy_examples(tmp_path)
    for block in blocks(PAGES[name], "sh", "run"):
        session(block.splitlines(), root)


def test_a_project_begins_as_the_page_says(tmp_path: Path) -> None:
    (block,) = blocks(page("start/first_run"), "sh", "run: empty")
    printed = session([" && ".join(block.splitlines())], tmp_path)
    assert "feedback (prompt v1): done" in printed


def test_your_own_file_is_labelled_in_three_commands(tmp_path: Path) -> None:
    (block,) = [each for each in blocks(README, "sh") if "batchpipe new" in each]
    assert block in PAGES["start/first_run.md"]
    root = copy_examples(tmp_path)
    (root / "tickets.csv").write_bytes((root / "pipelines" / "data" / "tickets.csv").read_bytes())
    typed = [f"{line} --emulator" if " new " not in line else line for line in block.splitlines()]
    printed = session(typed, root)
    assert "queues (prompt v1): done" in printed


def test_the_commands_around_an_edit_work(tmp_path: Path) -> None:
    root = copy_examples(tmp_path)
    session(["batchpipe run ticket_triage --emulator"], root)
    template = root / "prompts" / "ticket_triage" / "user.md.j2"
    template.write_text("A ticket:\n" + template.read_text(encoding="utf-8"), encoding="utf-8")
    printed = session(blocks(page("guides/edit_a_prompt"), "sh", "run: edited")[0].splitlines(), root)
    assert "+A ticket:" in printed
    assert "answered on both sides  60 rows" in printed
    assert "</html>" in (root / "diff.html").read_text(encoding="utf-8")
    assert "```diff" in (root / "plan.md").read_text(encoding="utf-8")
    with duckdb.connect(str(root / ".batchpipe/emulator/batchpipe.duckdb"), read_only=True) as database:
        for statement in duckdb.extract_statements(blocks(page("concepts/tables"), "sql", "queries")[0]):
            database.execute(statement).fetchall()


def test_every_file_that_a_page_names_is_there() -> None:
    names = {name for text in PAGES.values() for name in re.findall(r"\btests/\w+/\w+\.py", text)}
    assert len(names) > 30
    assert sorted(name for name in names if not (ROOT / name).is_file()) == []


def test_every_test_that_a_page_names_is_there() -> None:
    named = re.findall(r"`([\w/]+/test_\w+\.py)((?:::\w+)+)`", page("reference/evidence"))
    assert len(named) > 80
    for path, names in named:
        text = (ROOT / "tests" / path).read_text(encoding="utf-8")
        for name in names.split("::")[1:]:
            assert re.search(rf"^ *(?:def|class) {name}\b", text, re.MULTILINE), (path, name)


def test_the_two_commands_are_one_line_each() -> None:
    for name in ("try", "test"):
        (block,) = blocks(README, "sh", f"command: {name}")
        (line,) = block.splitlines()
        assert line.startswith("python3 -m venv .venv && ")


def test_the_ci_job_is_the_one_that_init_writes(tmp_path: Path) -> None:
    assert batchpipe("init", cwd=tmp_path).returncode == 0
    written = (tmp_path / ".github" / "workflows" / "batchpipe.yml").read_text(encoding="utf-8")
    (shown,) = blocks(page("guides/cron_and_ci"), "yaml", "ci")
    installs = re.compile(r"pip install .+")  # from where pip got it, which differs from machine to machine
    steps = [re.findall(r"- run: (.+)", installs.sub("INSTALL", text)) for text in (shown, written)]
    assert steps[0] == steps[1]
    assert steps[0][0] == "INSTALL"


def test_the_description_of_the_package_is_in_its_metadata() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["readme"], project["license"]) == ("README.md", "MIT")
    assert project["description"]


class TestTheCommand:
    def test_it_lists_every_page(self, tmp_path: Path) -> None:
        shown = batchpipe("docs", cwd=tmp_path)
        assert shown.returncode == 0
        assert all(each.topic in shown.stdout for each in read_pages())
        listed = json.loads(batchpipe("docs", "--json", cwd=tmp_path).stdout)
        assert [each["topic"] for each in listed] == [each.topic for each in read_pages()]

    @pytest.mark.parametrize("name", ["guides/review", "review", "Review", "guides/review.md"])
    def test_a_page_is_found_by_its_names(self, name: str, tmp_path: Path) -> None:
        shown = batchpipe("docs", name, cwd=tmp_path)
        assert shown.returncode == 0
        assert shown.stdout.strip() == page("guides/review").strip()

    @pytest.mark.parametrize(("name", "near"), [("reveiw", "guides/review"), ("exit", "reference/exit_codes")])
    def test_a_near_name_is_told_or_found(self, name: str, near: str, tmp_path: Path) -> None:
        shown = batchpipe("docs", name, cwd=tmp_path)
        assert near in shown.stderr if shown.returncode == 2 else shown.stdout.startswith("# Exit codes")

    @pytest.mark.parametrize("name", ["zzzzzz", "", "../../pyproject", "reference/"])
    def test_a_name_that_means_nothing_is_an_error_with_a_way_on(self, name: str, tmp_path: Path) -> None:
        shown = batchpipe("docs", name, cwd=tmp_path)
        assert shown.returncode == 2
        assert "batchpipe docs" in shown.stderr

    def test_html_opens_from_disk_and_holds_every_page(self, tmp_path: Path) -> None:
        written = batchpipe("docs", "--html", str(tmp_path / "site"), cwd=tmp_path)
        assert written.returncode == 0, written.stderr
        site = tmp_path / "site"
        files = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
        assert files == sorted(["index.html", *(f"{each.topic}.html" for each in read_pages())])
        for name in files:
            text = (site / name).read_text(encoding="utf-8")
            assert "<script" not in text
            assert re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', text) == []
            for link, place in re.findall(r'(?:href|src)="(?!https?:)([^"#]*)#?([^"]*)', text):
                target = (site / name).parent / link if link else site / name
                assert target.is_file(), (name, link)
                assert not place or f' id="{place}"' in target.read_text(encoding="utf-8"), (name, link, place)
        for name in ("llms.txt", "SKILL.md"):
            text = (site / name).read_text("utf-8")
            assert text == (DOCS / name).read_text("utf-8")
            assert [link for link in LINK.findall(text) if not (site / link).is_file()] == []
        again = batchpipe("docs", "--html", str(site), cwd=tmp_path)
        assert again.returncode == 0

    @pytest.mark.parametrize("folder", ["loop", "loop/site"])
    def test_a_link_that_leads_to_itself_is_named(self, tmp_path: Path, folder: str) -> None:
        (tmp_path / "loop").symlink_to("loop")
        shown = batchpipe("docs", "--html", folder, cwd=tmp_path)
        assert (shown.returncode, f"rm {tmp_path / 'loop'}\n" in shown.stderr) == (2, True), shown.stderr

    def test_a_folder_with_other_files_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "index.html").write_text("mine")
        shown = batchpipe("docs", "--html", "mine", cwd=tmp_path)
        assert shown.returncode == 2
        assert (tmp_path / "mine" / "index.html").read_text() == "mine"
