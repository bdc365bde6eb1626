"""Tests that the value of a `${NAME}` is in no text that leaves: errors, tracebacks, logs, spans, the ledger."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import httpx2
import pytest
from commandline import CommandLine
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from projects import BASIC, Project, numbered

from batchpipe.cli.main import main
from batchpipe.common.errors import PipelineError, Problem
from batchpipe.common.machine import THIS_MACHINE
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
    return "\n".join([*texts, tables(folder)])


def tables(folder: Path) -> str:
    """Return all rows of the database in `folder`, as text."""
    with duckdb.connect(str(folder / "batchpipe.duckdb"), read_only=True) as connection:
        names = connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
        return "\n".join(
            repr(connection.execute(f'SELECT * FROM "{each}"."{name}"').fetchall()) for each, name in names
        )


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


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace.get_tracer", provider.get_tracer)
    return exporter


def test_an_error_of_a_span_shows_no_value(spans: InMemorySpanExporter) -> None:
    remember("hunter2hunter2", "${PGPASS}")
    with pytest.raises(ValueError, match="hunter2"), span("collect", "demo"):
        raise ValueError("the password hunter2hunter2 is wrong")
    (found,) = spans.get_finished_spans()
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


class Breaks(httpx2.BaseTransport):
    """Fails in a way that nobody has thought of, with all that was to be sent in its text."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        raise RuntimeError(f"broken: {request.url} {request.headers.raw} {request.headers.multi_items()}")


SECRETS = {"GATE_KEY": "sk-gate-1234567890", "TEAM": "Team-Token+of/the=gate", "ROUTE": "a-secret-route"}


@pytest.mark.parametrize("protocol", ["anthropic", "openai", "gemini"])
@pytest.mark.parametrize("mode", ["batch", "realtime"])
def test_an_internal_error_of_a_call_shows_no_secret(
    project: Project,
    call: CommandLine,
    spans: InMemorySpanExporter,
    capsys: pytest.CaptureFixture[str],
    protocol: str,
    mode: str,
) -> None:
    """All secrets stand in `.env`; the traceback, the report of the bug, the spans and the ledger have none."""
    (project.root / ".env").write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items()))
    (project.root / "batchpipe.toml").write_text(
        f'[providers.gate]\nprotocol = "{protocol}"\nbase_url = "http://127.0.0.1:1/${{ROUTE}}/v1"\n'
        f'key = "${{GATE_KEY}}"\nmode = "{mode}"\nheaders = {{ "x-team" = "is ${{TEAM}}" }}\n'
    )
    project.pipeline(BASIC.replace("claude-haiku-4-5", "gate:some-model"))
    trusted = ",".join(f"{name}@http://127.0.0.1:1" for name in SECRETS)
    call.monkeypatch.setenv("BATCHPIPE_TRUST", trusted)
    code = main(["run", "demo", "--yes", "--debug", "--no-wait"], replace(THIS_MACHINE, transport=Breaks()))
    out, talk = capsys.readouterr()
    (project.root / ".env").unlink()
    told = out + talk + "".join(each.to_json() for each in spans.get_finished_spans())
    assert code != 0
    assert "broken: http://127.0.0.1:1/${ROUTE}/v1" in told
    for secret in SECRETS.values():
        assert secret not in told + everything(project.root)


KEY = "prod-key-abcdefghijklmnopqrstuvwxyz0123456789"
TOLD = f'"message":"the header holds {KEY}"'


@pytest.mark.parametrize("mode", ["batch", "realtime"])
def test_a_key_in_the_words_of_a_result_is_shown_and_stored_nowhere(
    project: Project, call: CommandLine, mode: str
) -> None:
    """The raw file keeps what the provider sent. Where it is replayed nobody is called, and the key is known all the
    same.
    """
    call.monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    project.pipeline(BASIC + f'mode = "{mode}"\n')
    project.rows(numbered(3))
    odd = {"match": "number 3", "outcome": "unknown_type", "message": {"stop_reason": f"new-{KEY}", "content": []}}
    told = {"call": "results", "fault": "results_edited", "edits": [['"message":"messages', TOLD[:-1] + "messages"]]}
    refused = {"call": "message", "fault": "status:400", "message": f"the header holds {KEY}"}
    failing = {"match": "number 1", "outcome": "errored_invalid"}
    project.faults({"requests": [failing, odd], "calls": [told if mode == "batch" else refused]})
    shown = []
    for _ in range(2):
        ended = call("run", "demo", "--debug")
        shown.append(ended.out + ended.talk)
        for command in (["show", "demo", "1"], ["show", "demo", "3"]):
            shown.append(call(*command).out)
        assert any("the header holds ${ANTHROPIC_API_KEY}" in each for each in shown), shown
        assert "the header holds ${ANTHROPIC_API_KEY}" in tables(project.root)
        assert KEY[:12] not in "".join([*shown, tables(project.root)])
        (project.root / "batchpipe.duckdb").unlink()


PASSED = "Pr0xy/Pass+word"
REFUSES = (
    b"HTTP/1.1 407 no Pr0xy/Pass+word\r\nConnection: close\r\n\r\nnot dXNlcjpQcjB4eS9QYXNzK3dvcmQ= nor Pr0xy/Pass+word"
)


class Refuses(socketserver.StreamRequestHandler):
    """A proxy that lets nobody through, and says so with what it was given."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(REFUSES)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("mode", ["batch", "realtime"])
def test_the_password_of_a_proxy_is_shown_nowhere(
    project: Project, call: CommandLine, spans: InMemorySpanExporter, proxy: str, mode: str
) -> None:
    project.pipeline(BASIC + f'mode = "{mode}"\n')
    call.monkeypatch.setenv("HTTP_PROXY", f"http://user:Pr0xy%2FPass+word@{proxy}")
    ended = call("run", "demo", "--debug")
    assert ended.code == 3
    assert "<password of HTTP_PROXY>" in ended.talk
    told = ended.out + ended.talk + everything(project.root) + "".join(e.to_json() for e in spans.get_finished_spans())
    for form in (PASSED, "Pr0xy%2FPass+word", "dXNlcjpQcjB4eS9QYXNzK3dvcmQ="):
        assert form not in told


@pytest.mark.parametrize("mode", ["batch", "realtime"])
@pytest.mark.parametrize(
    ("name", "address", "what"),
    [
        ("HTTP_PROXY", "ftp://user:Pr0xyPassword@127.0.0.1:9", "is not the address of a proxy"),
        ("ALL_PROXY", "http://user:Pr0xyPassword@127.0.0.1:port", "is not the address of a proxy"),
        ("HTTPS_PROXY", "user:Pr0xyPassword@", "is not the address of a proxy"),
        ("HTTP_PROXY", "socks5://user:Pr0xyPassword@127.0.0.1:9", "needs the package socksio"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_before_anything_is_sent(
    project: Project, call: CommandLine, proxy: str, mode: str, name: str, address: str, what: str
) -> None:
    """Else a batch would count as one of unknown outcome, and a realtime call as one that may have been paid for."""
    project.pipeline(BASIC + f'mode = "{mode}"\n')
    call.monkeypatch.setenv(name, address)
    ended = call("run", "demo", "--debug")
    assert (ended.code, f"{name} {'is a SOCKS proxy, which ' if 'socks' in what else ''}{what}" in ended.talk) == (
        3,
        True,
    )
    assert "Pr0xyPassword" not in ended.out + ended.talk + everything(project.root)
    assert project.sql("SELECT count(*) FROM ledger.requests") == [(0,)]
    call.monkeypatch.setenv("NO_PROXY", "*")
    assert call("run", "demo").code == 0
