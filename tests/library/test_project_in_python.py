"""Tests of a project as a Python program uses it: plans, runs and results, errors, interrupts, event loops."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import signal
import subprocess
import sys
import textwrap
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commandline import in_process_of_its_own
from projects import BASIC, Project, numbered

import batchpipe

PACKAGE = Path(batchpipe.__file__).parent
CHECK = "\n[output.checks]\nnot_other = \"label <> 'other'\"\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose one pipeline has run once, by the library."""
    folder = tmp_path_factory.mktemp("python")
    project = Project(folder)
    project.rows(numbered(6))
    project.pipeline(BASIC.replace("[[models]]", CHECK + "\n[[models]]"))
    project.close()
    return folder


@pytest.fixture(scope="module")
def opened(root: Path) -> batchpipe.Project:
    return batchpipe.Project(root / "pipelines", emulator=True)


@pytest.fixture(scope="module")
def ran(opened: batchpipe.Project) -> tuple[batchpipe.Plan, batchpipe.Result]:
    demo = opened.pipeline("demo")
    return demo.plan(), demo.run(max_usd="5")


def test_a_plan_has_the_words_of_the_command(root: Path, ran: tuple[batchpipe.Plan, batchpipe.Result]) -> None:
    plan, _ = ran
    assert (plan.pipeline, plan.due, plan.requests, plan.batches) == ("demo", 6, 6, 1)
    assert (plan.rows["input"], plan.rows["new"], plan.rows["unchanged"]) == (6, 6, 0)
    assert isinstance(plan.cost_usd, Decimal)
    assert isinstance(plan.max_usd, Decimal)
    assert plan.cost_usd < plan.max_usd
    printed = json.loads(in_process_of_its_own(root, "plan", "demo", "--json", "--emulator").out)
    assert list(plan.rows) == list(printed["rows"])
    assert set(plan.as_dict()) == set(printed)
    assert "6 rows in the input" in str(plan)
    with pytest.raises(TypeError):
        plan.rows["input"] = 7  # type: ignore[index]


def test_a_result_has_the_words_of_the_command(root: Path, ran: tuple[batchpipe.Plan, batchpipe.Result]) -> None:
    _, result = ran
    assert (result.status, result.submitted, result.batches) == ("done", 6, 1) or result.attempts > 6
    again = json.loads(in_process_of_its_own(root, "run", "demo", "--json", "--emulator").out)
    assert list(result.rows) == list(again["rows"])
    assert set(result.as_dict()) == set(again)
    assert (again["submitted"], again["rows"]["accepted"]) == (0, result.rows["accepted"])
    assert result.tokens["input"] == result.as_dict()["tokens"]["input"]


def test_a_notebook_shows_them_as_tables(ran: tuple[batchpipe.Plan, batchpipe.Result]) -> None:
    plan, result = ran
    for value in (plan, result):
        shown = value._repr_html_()
        assert shown.startswith("<table>")
        assert "<td style='text-align:right'>6</td>" in shown
    odd = type(plan)(**{name: getattr(plan, name) for name in plan.__slots__} | {"pipeline": "<script>"})
    assert "<script>" not in odd._repr_html_()


def test_results_are_in_memory_and_hold_no_file(
    root: Path, opened: batchpipe.Project, ran: tuple[batchpipe.Plan, batchpipe.Result]
) -> None:
    found = opened.pipeline("demo").results()
    database = root / ".batchpipe" / "emulator" / "batchpipe.duckdb"
    writes = f"import duckdb; duckdb.connect({str(database)!r}).execute('CREATE TABLE other.x (a INTEGER)')"
    subprocess.run([sys.executable, "-c", writes.replace("other.x", "of_another_process")], check=True, timeout=60)
    rows = found.fetchall()
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert len(rows) == ran[1].rows["accepted"]
    assert found.columns[:3] == ["id", "label", "score"]
    assert len(opened.pipeline("demo").results(where="id <= 2", limit=1).df()) <= 1
    assert opened.pipeline("demo").results(current=True).pl().columns == found.columns
    assert found.to_arrow_table().num_rows == len(rows)


def test_names_and_files_name_a_pipeline(root: Path, opened: batchpipe.Project) -> None:
    assert [each.name for each in opened.pipelines()] == ["demo"]
    assert opened.pipeline(root / "pipelines" / "demo.toml").name == "demo"
    assert repr(opened) == f"<batchpipe project {root.resolve()}>"
    with pytest.raises(batchpipe.UsageError, match="Did you mean demo"):
        opened.pipeline("demmo")


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"poll_intervall": 1}, "Did you mean poll_interval"), ({"poll_interval": -1}, "poll_interval")],
)
def test_a_wrong_setting_is_an_error(root: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(batchpipe.UsageError, match=words) as caught:
        batchpipe.Project(root, **settings)
    assert "batchpipe.Project" in str(caught.value)


def test_errors_are_the_librarys_own(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.close()
    opened = batchpipe.Project(tmp_path, emulator=True)
    project.rows([*numbered(2), *numbered(1)])
    project.pipeline()
    demo = opened.pipeline("demo")
    with pytest.raises(batchpipe.UsageError, match="no results yet"):
        demo.results()
    with pytest.raises(batchpipe.InputError, match="not unique"):
        demo.run()
    with pytest.raises(batchpipe.UsageError, match="not an amount of money"):
        demo.run(max_usd="much")
    with pytest.raises(batchpipe.UsageError, match="no parameter 'since'"):
        demo.plan(params={"since": 1})
    with pytest.raises(batchpipe.UsageError, match="not a duration"):
        demo.run(wait=-1)
    (tmp_path / "pipelines" / "demo.toml").write_text("[input]\nquery = 1\n")
    with pytest.raises(batchpipe.PipelineError):
        demo.plan()
    project.pipeline()
    project.rows(numbered(1))
    with pytest.raises(batchpipe.CredentialsError, match="ANTHROPIC_API_KEY"):
        batchpipe.Project(tmp_path).pipeline("demo").run()
    with pytest.raises(batchpipe.UsageError, match="no folder"):
        batchpipe.Project(tmp_path / "nowhere")


def test_a_gate_is_a_result(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.close()
    project.rows(numbered(3))
    project.pipeline()
    result = batchpipe.Project(tmp_path, emulator=True).pipeline("demo").run(max_usd=0)
    assert (result.status, result.submitted) == ("gate", 0)
    assert "--max-usd of $0 is reached" in (result.gate or "")


def test_events_go_to_the_log_and_relative_paths_start_at_the_root(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that DuckDB writes and attaches, wherever the program works."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    duckdb.connect(str(root / "more.duckdb")).execute("CREATE TABLE langs AS SELECT 'en' AS lang, 1 AS rank").close()
    project = Project(root)
    project.close()
    project.rows(numbered(2))
    setup = "setup = [\"ATTACH 'more.duckdb' AS more (READ_ONLY)\"]\nkey"
    query = BASIC.replace("key", setup, 1).replace("'INTEGER'})", "'INTEGER'}) JOIN more.langs USING (lang)")
    project.pipeline(
        query.replace(
            "[output.fields.label]", "[output]\nafter = [\"COPY demo TO 'out.csv'\"]\n\n[output.fields.label]"
        )
    )
    monkeypatch.chdir(elsewhere)
    with caplog.at_level(logging.INFO, logger="batchpipe"):
        result = batchpipe.Project(root, emulator=True).pipeline("demo").run()
    assert result.status == "done"
    assert (root / "out.csv").exists()
    assert Path.cwd() == elsewhere
    assert "submitted 2 requests" in caplog.text


def test_an_event_loop_goes_on_meanwhile_and_a_canceled_task_can_be_resumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = Project(tmp_path)
    project.close()
    project.rows(numbered(3))
    project.pipeline()
    demo = batchpipe.Project(tmp_path, emulator=True, emulator_delay=3600).pipeline("demo")
    submitted = threading.Event()

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "submitted 3 requests" in record.getMessage():
                submitted.set()

    async def canceled() -> int:
        task, ticks = asyncio.create_task(demo.run_async()), 0
        async with asyncio.timeout(30):
            while not submitted.is_set():
                await asyncio.sleep(0.02)
                ticks += 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return ticks

    listening, logger = Listening(), logging.getLogger("batchpipe")
    logger.addHandler(listening)
    with caplog.at_level(logging.INFO, logger="batchpipe"):
        assert asyncio.run(canceled()) > 1
    logger.removeHandler(listening)

    async def inside() -> batchpipe.Result:
        return batchpipe.Project(tmp_path, emulator=True).pipeline("demo").run()

    result = asyncio.run(inside())
    assert (result.status, result.submitted) == ("done", 0)


def test_control_c_is_a_keyboard_interrupt_and_the_same_call_goes_on(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.close()
    project.rows(numbered(3))
    project.pipeline()
    script = """
        import logging, sys, batchpipe
        logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
        demo = batchpipe.Project(".", emulator=True, emulator_delay=3600).pipeline("demo")
        try:
            demo.run()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        result = batchpipe.Project(".", emulator=True).pipeline("demo").run()
        print(result.status, result.submitted, result.rows["accepted"])
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "submitted 3 requests" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    lines = rest.splitlines()
    assert "interrupted" in lines
    assert lines[-1].startswith("done 0 ")


def test_the_import_is_light_and_the_stub_tells_the_truth() -> None:
    heavy = "('duckdb', 'pydantic', 'rich', 'pyarrow', 'anthropic', 'pandas', 'batchpipe.engine', 'batchpipe.library')"
    code = (
        f"import sys, batchpipe; batchpipe.__version__; dir(batchpipe); print([x for x in {heavy} if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    stub = (PACKAGE / "__init__.pyi").read_text("utf-8")
    declared = {line.split(" as ")[-1]: line.split()[1] for line in stub.splitlines() if line.startswith("from ")}
    for name, place in declared.items():
        assert getattr(batchpipe, name) is getattr(importlib.import_module(place), name)
    assert set(declared) == set(batchpipe.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="no attribute 'Projekt'"):
        _ = batchpipe.Projekt  # type: ignore[attr-defined]
