"""Tests that the value of a `${NAME}` is in no text that leaves: errors, tracebacks, logs, spans, the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from commandline import CommandLine
from projects import BASIC, Project, numbered

from batchpipe.common.errors import PipelineError, Problem
from batchpipe.common.secrets import redacted, remember
from batchpipe.common.telemetry import span

PASSWORD = "hunt\"er's 2/é"
SETUP = "setup = [\"CREATE MACRO pw() AS '${PGPASS}'\"]\n"


@pytest.fixture
def call(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    found = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    found.provide(project)
    monkeypatch.setenv("PGPASS", PASSWORD.replace("'", "''"))
    project.rows(numbered(2))
    return found


def everything(folder: Path) -> str:
    """Return all files below `folder` and all rows of its database, as text."""
    texts = [
        path.read_bytes().decode("latin-1")
        for path in folder.rglob("*")
        if path.is_file() and ".emulator" not in path.parts
    ]
    with duckdb.connect(str(folder / "batchpipe.duckdb"), read_only=True) as connection:
        for schema, name in connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall():
            texts.append(repr(connection.execute(f'SELECT * FROM "{schema}"."{name}"').fetchall()))
    return "\n".join(texts)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        # DuckDB shows an excerpt of the statement, cut so that only a part of the value is in it.
        (
            "[input]",
            "[input]\nsetup = [\"SELECT 'host=db password=${PGPASS} and so on, and so on, and so on' FROM no\"]",
        ),
        # The statement works, and the query's error repeats the value.
        ("[input]", f"[input]\n{SETUP}"),
        ("[output.fields.label]", "[output]\nafter = [\"SELECT error('${PGPASS}')\"]\n[output.fields.label]"),
    ],
)
def test_a_statement_that_fails_shows_no_value(project: Project, call: CommandLine, place: str, text: str) -> None:
    pipeline = BASIC.replace(place, text, 1)
    if SETUP in text:
        pipeline = pipeline.replace("SELECT id,", "SELECT error(pw() || body) AS id,")
    project.pipeline(pipeline)
    for options in (["--debug"], ["--json", "--debug"], ["--log-format", "json"]):
        ended = call("run", "demo", *options)
        assert ended.code == 2, ended.talk
        shown = ended.out + ended.talk + everything(project.root)
        assert "${PGPASS}" in ended.out + ended.talk or "--log-format" in options
        for part in (PASSWORD, PASSWORD.replace("'", "''"), json.dumps(PASSWORD)[1:-1], 'hunt"er', 'hunt\\"er'):
            assert part not in shown


def test_a_setting_with_a_variable_shows_its_name_only(project: Project, call: CommandLine) -> None:
    project.pipeline()
    address = project.emulator.base_url
    call.monkeypatch.setenv("ROUTE", "team-one-route")
    call.monkeypatch.setenv("BATCHPIPE_BASE_URL", address + "/${ROUTE}")
    ended = call("run", "demo", "--debug")
    assert (ended.code, "${ROUTE}" in ended.out + ended.talk) == (6, True), ended.talk
    assert "team-one-route" not in ended.out + ended.talk + everything(project.root)


def test_values_are_taken_out_in_every_form() -> None:
    remember("p'w d%1", "${A}")
    remember("ab", "${SHORT}")
    remember("data", "${WORD}")
    assert redacted("the database at data/x, 'data'") == "the database at ${WORD}/x, '${WORD}'"
    remember("Gate.Example", "${HOST}")
    remember("first line\nsecond line", "${LINES}")
    assert redacted("x p'w d%1 y p''w d%1 z p%27w%20d%251") == "x ${A} y ${A} z ${A}"
    assert redacted("ab, cab, ab_") == "${SHORT}, cab, ${SHORT}_"
    assert redacted("https://gate.example/x") == "https://${HOST}/x"
    assert redacted("only second line") == "only ${LINES}"
    error = PipelineError("p'w d%1", where="Gate.Example", hint="ab")
    assert (str(error), error.args) == ("${HOST}: ${A}\n  ${SHORT}", ("${A}",))
    assert Problem(what="ab", where="ab", hint="ab").hint == "${SHORT}"


def test_an_error_of_a_span_shows_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace.get_tracer", provider.get_tracer)
    remember("hunter2hunter2", "${PGPASS}")
    with pytest.raises(ValueError, match="hunter2"), span("collect", "demo"):
        raise ValueError("the password hunter2hunter2 is wrong")
    (found,) = exporter.get_finished_spans()
    assert (found.status.is_ok, len(found.events)) == (False, 1)
    assert "hunter2" not in found.to_json()
    assert "the password ${PGPASS} is wrong" in found.to_json()


def test_a_value_with_a_quote_is_named_where_its_statement_fails(project: Project, call: CommandLine) -> None:
    project.pipeline(BASIC.replace("[input]", "[input]\nsetup = [\"ATTACH '${FOLDER}/${PGPASS}.duckdb' AS old\"]", 1))
    call.monkeypatch.setenv("FOLDER", "/nowhere")
    call.monkeypatch.setenv("PGPASS", PASSWORD)
    ended = call("check", "demo")
    assert "The value of ${PGPASS} has a single quote: write it twice" in ended.out + ended.talk
    call.monkeypatch.setenv("PGPASS", PASSWORD.replace("'", "''"))
    assert "has a single quote" not in call("check", "demo").out
