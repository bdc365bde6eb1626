"""Tests that keys stay secret, templates stay under prompts/, and text of a model or file is never interpreted."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow
import pytest
from calls import ask, call_here, environment, spawn
from projects import BASIC, Project, numbered

from batchpipe.commands.results.results import results

KEY = "sk-ant-api03-nobody-may-see-this-4711"
TABLE = 'a"b; DROP SCHEMA ledger CASCADE; --'
FIELD = 'it\'s "best"; DROP'


def call(project: Project, *arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    """Run the command line, with a key that can be recognised."""
    return call_here(project, *arguments, key=key)


def texts(folder: Path) -> dict[str, str]:
    """Return everything that is written below `folder` as text, unpacked."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == ".env" or ".emulator" in path.parts:  # the provider's own
            continue
        content = path.read_bytes()
        found[str(path)] = content.decode("latin-1")
        if path.suffix == ".zst":
            found[f"{path} unpacked"] = pyarrow.input_stream(str(path), compression="zstd").read().decode()
        if path.suffix == ".parquet":
            rows = duckdb.connect().execute(f"SELECT * FROM '{path}'").fetchall()
            found[f"{path} read"] = repr(rows)
        if path.suffix == ".duckdb":
            found[f"{path} read"] = repr(everything(path))
    return found


def everything(path: Path) -> list[Any]:
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = connection.execute(
            'SELECT format(\'"{}"."{}"\', table_schema, replace(table_name, \'"\', \'""\')) '
            "FROM information_schema.tables"
        ).fetchall()
        return [connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables]


def seen(project: Project, ended: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the places where the key can be seen."""
    places = {"stdout": ended.stdout, "stderr": ended.stderr, **texts(project.root)}
    return [name for name, text in places.items() if KEY in text]


def test_a_key_is_in_no_file_and_in_no_output(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(8))
    project.faults({"requests": [{"match": "number 3", "outcome": "errored_api", "times": 1}]})
    ended = call(project, "run", "demo", "--debug")
    assert ended.returncode == 0, ended.stderr
    assert seen(project, ended) == []
    for command in (
        ["status"],
        ["show", "demo", "3"],
        ["recover", "demo"],
        ["report"],
        ["recover", "demo", "--from-raw"],
    ):
        ended = call(project, *command, "--debug")
        assert ended.returncode == 0, ended.stderr
        assert seen(project, ended) == []


@pytest.mark.share(3)
@pytest.mark.parametrize("fault", ["status:401", "status:400", "status:500", "status_html:502"])
@pytest.mark.parametrize("place", ["create", "retrieve"])
def test_a_provider_that_repeats_the_key_does_not_spread_it(project: Project, fault: str, place: str) -> None:
    project.pipeline()
    project.rows(numbered(3))
    rule = {"call": place, "fault": fault, "times": 3, "message": f"the key {KEY} is not good"}
    project.faults({"calls": [rule]})
    ended = call(project, "run", "demo", "--no-wait", "--debug", "--json")
    assert seen(project, ended) == []
    ended = call(project, "run", "demo", "--no-wait")
    assert seen(project, ended) == []


def test_a_key_in_a_dotenv_file_is_used_and_shown_nowhere(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    (project.root / ".env").write_text(f"ANTHROPIC_API_KEY={KEY}\n")
    ended = call(project, "run", "demo", key="")
    assert ended.returncode == 0, ended.stderr
    assert seen(project, ended) == []


def test_a_key_is_in_no_command_line(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.faults({"delay_seconds": 3600})
    running = spawn(project, "run", "demo")
    try:
        while not project.log()["batches"]:
            assert running.poll() is None
        lines = b"".join(
            path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists() and _mine(path)
        )
        assert b"batchpipe" in lines
        assert b"test-key" not in lines
    finally:
        running.terminate()
        running.communicate()


def _mine(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.getuid()
    except OSError:
        return False


def test_a_bug_report_holds_no_key(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    broken = project.root / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import batchpipe.engine.batches.collect as module\n"
        "def fail(self, batch, state):\n"
        "    raise RuntimeError(repr(self.provider()))\n"
        "module.Collector.collect = fail\n"
    )
    running = subprocess.run(
        [sys.executable, "-m", "batchpipe", "run", "demo"],
        cwd=project.root,
        env={
            **os.environ,
            **environment(project),
            "ANTHROPIC_API_KEY": KEY,
            "BATCHPIPE_POLL_INTERVAL": "0.02",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(broken)]),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert running.returncode == 70, running.stderr
    assert list((project.root / ".batchpipe" / "logs").glob("bug-*.md"))
    assert seen(project, running) == []


@pytest.mark.parametrize(
    "template",
    [
        "{% include '../secret.txt' %}",
        "{% include '/etc/passwd' %}",
        "{% include 'link.txt' %}",
        "{% include 'folder/secret.txt' %}",
        "{% import '../secret.txt' as x %}",
        "{% extends '../secret.txt' %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.environ }}",
        "{{ body.__init__.__globals__ }}",
        "{{ lipsum.__globals__ }}",
        "{{ body.format.__globals__ }}",
        "{% set x = '{0.__class__.__mro__}'.format(body) %}{{ x }}",
    ],
)
def test_a_template_reads_nothing_outside_prompts(project: Project, template: str) -> None:
    (project.root / "secret.txt").write_text(KEY)
    (project.root / "prompts").mkdir()
    (project.root / "prompts" / "link.txt").symlink_to(project.root / "secret.txt")
    (project.root / "prompts" / "folder").symlink_to(project.root)
    (project.root / "prompts" / "demo.md.j2").write_text("{{ body }} " + template)
    old = BASIC.partition("user_text")[2].partition("\n")[0]
    project.pipeline(BASIC.replace(f"user_text{old}", 'user = "demo.md.j2"'))
    project.rows(numbered(2))
    ended = call(project, "run", "demo")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert not project.log()["batches"]
    assert KEY not in ended.stdout + ended.stderr


HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07 clear",
    "[red]alarm[/red] [link=https://example.com]x[/link]",
    "=cmd|'/C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    "'; DROP TABLE ledger.results; --",
    '"; DROP SCHEMA ledger CASCADE; --',
    "${HOME} $(id) `id`",
    "{{ 7 * 7 }}{% raw %}",
    "\u202etxt.exe\u2066",
    "$1 $name %s {0}",
    "NULL",
)


def hostile(project: Project) -> None:
    """A pipeline with hostile names, and a model that answers with hostile texts."""
    name, field = json.dumps(TABLE), json.dumps(FIELD)
    project.pipeline(
        f"""
[input]
query = "SELECT id, body, lang AS \\"la\\"\\"ng; DROP\\" FROM read_csv('rows.csv', types = {{'id': 'BIGINT'}})"
key = "id"
[prompt]
user_text = "{{{{ body }}}}"
[output]
table = {name}
format = "json"
include = ["la\\"ng; DROP"]
[output.fields.{field}]
type = "string"
description = "what's \\"it\\"; -- */"
[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""
    )
    rows = [row | {"body": f"case {n};"} for n, row in enumerate(numbered(len(HOSTILE)))]
    project.rows(rows)
    rules = [{"match": f"case {n};", "output": {FIELD: text}} for n, text in enumerate(HOSTILE)]
    project.faults({"requests": rules})


def test_hostile_names_and_answers_are_just_names_and_text(project: Project) -> None:
    hostile(project)
    ended = call(project, "run", "demo")
    assert ended.returncode == 0, ended.stderr
    table, field = TABLE.replace('"', '""'), FIELD.replace('"', '""')
    stored = project.sql(f'SELECT "{field}" FROM "{table}" ORDER BY id')
    assert [text for (text,) in stored] == list(HOSTILE)
    assert project.sql("SELECT count(*) FROM ledger.results") == [(len(HOSTILE),)]
    assert project.sql("SELECT count(*) FROM duckdb_schemas() WHERE schema_name = 'ledger'")[0][0] >= 1
    for command in (
        ["show", "demo", "1"],
        ["show", "demo", "3"],
        ["status"],
        ["report", "demo"],
        ["plan", "demo"],
        ["check", "demo"],
        ["recover", "demo", "--from-raw"],
        ["run", "demo"],
    ):
        ended = call(project, *command)
        assert ended.returncode == 0, (command, ended.stderr)
        shown = ended.stdout + ended.stderr
        assert not set(shown) & {"\x1b", "\x07", "\u202e", "\u2066", "\r"}, command

    on_terminal = ask(project, results, "demo", terminal=True).out
    assert "owned" in on_terminal
    assert not set(on_terminal) & {"\x07", "\u202e", "\u2066", "\r"}
    assert "\x1b[2J" not in on_terminal
    assert "[red]alarm[/red]" in on_terminal


def test_hostile_answers_are_no_formulas_in_csv_and_xlsx(project: Project) -> None:
    hostile(project)
    assert call(project, "run", "demo").returncode == 0
    for file in ("out.csv", "out.json", "out.parquet"):
        ended = call(project, "results", "demo", "--to", file)
        assert ended.returncode == 0, ended.stderr
    cells = (
        duckdb.connect()
        .execute(f"SELECT * FROM read_csv('{project.root / 'out.csv'}', all_varchar = true, header = true)")
        .fetchall()
    )
    assert len(cells) == len(HOSTILE)
    values = [value for row in cells for value in row[1:] if value]
    assert [value for value in values if value[0] in "=@+\t\r"] == []
    if importlib.util.find_spec("openpyxl") is None:
        return
    assert call(project, "results", "demo", "--to", "out.xlsx").returncode == 0
    with zipfile.ZipFile(project.root / "out.xlsx") as book:
        sheets = [book.read(name).decode() for name in book.namelist() if name.startswith("xl/worksheets/")]
    assert sheets
    assert not any("<f>" in sheet or "<f " in sheet for sheet in sheets)


def test_an_answer_that_looks_like_a_template_is_not_rendered_on_a_retry(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    evil = '{"label": "{{ 7 * 7 }}{% include \'x\' %}", "score": 0.5}'
    project.faults(
        {
            "requests": [
                {"match": "number 1", "output": json.loads(evil), "times": 1},
                {"output": {"label": "bug", "score": 0.5}},
            ]
        }
    )
    ended = call(project, "run", "demo")
    assert ended.returncode == 0, ended.stderr
    assert project.sql("SELECT count(*) FROM demo") == [(2,)]
