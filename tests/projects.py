"""A project for tests: its files, runs through the real engine, SDK and emulator, and queries of the database."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from batchpipe.emulator import Emulator
from batchpipe.engine.calls.tried import TriedRow
from batchpipe.engine.context import Context
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.preview import Preview, preview
from batchpipe.engine.run.result import RunResult
from batchpipe.engine.run.runner import RunOutcome, run_pipelines
from batchpipe.engine.run.try_rows import RowTry, TryOptions
from batchpipe.pipeline.load import load
from batchpipe.pipeline.model import PipelineFile
from batchpipe.project.settings import load_settings

BASIC = """
[input]
query = "SELECT id, body, lang, amount FROM read_csv('rows.csv', types = {'id': 'BIGINT', 'amount': 'INTEGER'})"
key = "id"

[prompt]
user_text = "{{ body }}{% if lang == 'de' %} Auf Deutsch.{% endif %}"

[output.fields.label]
type = "string"
enum = ["billing", "bug", "other"]
[output.fields.score]
type = "number"
minimum = 0
maximum = 1

[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""


class Project:
    """A project in a folder. `run` and `plan` go through the engine; `emulator` serves on loopback and logs
    its calls.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "batchpipe.toml").touch()
        (root / "pipelines").mkdir(exist_ok=True)
        self.emulator = Emulator(root / ".emulator")
        self.emulator.start()
        self.said: list[str] = []
        self.confirm: Callable[[Resolved, Callable[[], Plan]], bool] = lambda resolved, whole: True
        self.settings: dict[str, Any] = {"poll_interval": 0.02, "reconcile_wait": 0.3}

    def close(self) -> None:
        self.emulator.stop()

    def pipeline(self, text: str = BASIC, name: str = "demo") -> PipelineFile:
        """Write a pipeline file and return it as it is read."""
        path = self.root / "pipelines" / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, self.root)

    def rows(self, rows: Sequence[Mapping[str, Any]], file: str = "rows.csv") -> None:
        """Write the input, as CSV with every column quoted."""
        names = list(rows[0])
        lines = [",".join(names)]
        for row in rows:
            lines.append(",".join('"' + str(row[name]).replace('"', '""') + '"' for name in names))
        (self.root / file).write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """The keys and addresses of all three providers, which the emulator plays."""
        return {
            "ANTHROPIC_API_KEY": "test-key",
            "ANTHROPIC_BASE_URL": self.emulator.base_url,
            "OPENAI_API_KEY": "test-key",
            "OPENAI_BASE_URL": f"{self.emulator.base_url}/v1",
            "GEMINI_API_KEY": "test-key",
            "GOOGLE_GEMINI_BASE_URL": self.emulator.base_url,
        }

    def context(self) -> Context:
        settings = load_settings(self.root, environment={}, command_line=self.settings)
        return Context(
            root=self.root, settings=settings, environment=self.environment, say=self.said.append, wait_seconds=5.0
        )

    def outcomes(
        self, names: Sequence[str] = ("demo",), *, wait_seconds: float = 60.0, **options: Any
    ) -> list[RunOutcome]:
        """Run pipelines to their end in one loop."""
        context = self.context()
        runs = [
            PipelineRun(
                context=context,
                file=load(self.root / "pipelines" / f"{name}.toml", self.root),
                options=RunOptions(**options),
                tell=lambda name, text: self.said.append(f"{name}: {text}"),
                confirm=self.confirm,
            )
            for name in names
        ]
        try:
            return run_pipelines(context, runs, wait_seconds=wait_seconds, show=lambda runs: None)
        finally:
            context.close()

    def run(self, name: str = "demo", **options: Any) -> RunResult:
        """Run one pipeline to its end. Raises the error that ends it."""
        (outcome,) = self.outcomes([name], **options)
        if outcome.error is not None:
            raise outcome.error
        return outcome.result

    def plan(self, name: str = "demo", **options: Any) -> Plan:
        """Return what a run would do; nothing is recorded."""
        return self.preview(name, **options).plan

    def preview(self, name: str = "demo", **options: Any) -> Preview:
        """Return what a run would do, with the preview around it."""
        context = self.context()
        file = load(self.root / "pipelines" / f"{name}.toml", self.root)
        try:
            return preview(context, file, RunOptions(**options))
        finally:
            context.close()

    def attempt(self, name: str = "demo", **options: Any) -> list[TriedRow]:
        """Try rows by realtime calls."""
        context = self.context()
        file = load(self.root / "pipelines" / f"{name}.toml", self.root)
        work = context.work()
        folder = self.root / "row_try"
        folder.mkdir(exist_ok=True)
        try:
            with context.source(file, {}) as source:
                resolved = context.resolve(file, source)
                snapshot = source.snapshot(folder / "input.parquet", resolved.input_columns)
            row_try = RowTry(context=context, resolved=resolved, snapshot=snapshot, work=work, folder=folder)
            return list(row_try.rows(TryOptions(**options)))
        finally:
            work.close()
            context.close()

    def open_orders(self) -> list[int]:
        """Return the numbers of the open orders."""
        given = "SELECT order_id, row_number() OVER (ORDER BY seq, order_id) AS number FROM ledger.orders"
        closed = "SELECT data ->> 'order_id' FROM ledger.events WHERE kind IN ('order_done', 'order_withdrawn')"
        found = self.sql(f"SELECT number FROM ({given}) WHERE order_id::VARCHAR NOT IN ({closed}) ORDER BY number")
        return [number for (number,) in found]

    def sql(self, statement: str, parameters: object = None) -> list[tuple[Any, ...]]:
        """Query the database as any user of DuckDB can."""
        with duckdb.connect(str(self.root / "batchpipe.duckdb"), read_only=True) as connection:
            return connection.execute(statement, parameters).fetchall()

    def log(self) -> dict[str, Any]:
        """Return the log of the emulator's calls and batches."""
        with urllib.request.urlopen(f"{self.emulator.base_url}/emulator/log") as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def raw_file(self, ending: str) -> Path:
        """Return the only file of the raw folder that ends so."""
        (path,) = (self.root / ".batchpipe" / "raw").glob(f"*{ending}")
        return path

    def requests_sent(self) -> int:
        """Return the requests of all batches that the emulator ever took."""
        return sum(batch["total"] for batch in self.log()["batches"].values())

    def faults(self, rules: Mapping[str, Any]) -> None:
        """Replace the emulator's fault rules."""
        self.control("faults", rules)

    def control(self, what: str, value: Mapping[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.emulator.base_url}/emulator/{what}",
            data=json.dumps(value).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def numbered(count: int, *, german: int = 0) -> list[dict[str, Any]]:
    """Return rows with ids from 1; the first `german` of them are in German."""
    return [
        {"id": n, "body": f"text number {n}", "lang": "de" if n <= german else "en", "amount": n % 10}
        for n in range(1, count + 1)
    ]
