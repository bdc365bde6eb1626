"""The process that is killed: it is forked for a job of stdin, a JSON object a line.

Its number and its exit code are told on stdout. A fork spares every job the second that imports cost; nothing
has been opened before it. Arguments are modules to load beside the usual ones.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from batchpipe.engine.context import Context
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.runner import run_pipelines
from batchpipe.pipeline.load import load
from batchpipe.project.settings import load_settings
from crash.points import Points, set_points

LOADED_BEFORE = ("anthropic", "httpx2", "jsonschema_rs", "pyarrow.parquet", "genai_prices")


def run(job: dict[str, Any], points: Points) -> dict[str, Any]:
    """Run the job's pipeline to its end and return the outcome."""
    root = Path(job["root"])
    environment = job["environment"]
    settings = load_settings(root, environment={}, command_line=job["settings"])
    context = Context(root=root, settings=settings, environment=environment, say=lambda text: None, wait_seconds=10.0)
    pipeline = PipelineRun(
        context=context,
        file=load(root / "pipelines" / f"{job['pipeline']}.toml", root),
        options=RunOptions(),
        tell=lambda name, event: None,
        confirm=lambda resolved, plan: True,
    )
    try:
        (outcome,) = run_pipelines(context, [pipeline], wait_seconds=60.0, show=lambda runs: None)
    finally:
        context.close()
    result = outcome.result
    return {
        "status": result.status,
        "submitted": result.submitted,
        "rows": dict(result.rows),
        "error": None if outcome.error is None else str(outcome.error),
        "points": points.passed,
    }


def work(job: dict[str, Any]) -> None:
    """Run in the forked process, and write the outcome to the file that the job names."""
    os.chdir(job["root"])
    points = Points(kill_at=job["kill_at"], kill_on=job["kill_on"])
    answer = Path(job["answer"])
    keep = answer.write_text
    set_points(points)
    keep(json.dumps(run(job, points)), "utf-8")


def main() -> None:
    for name in (*LOADED_BEFORE, *sys.argv[1:]):
        importlib.import_module(name)
    _say("ready")
    for line in sys.stdin:
        job = json.loads(line)
        process = os.fork()
        if process == 0:
            _forked(job)
        _say(str(process))
        _, status = os.waitpid(process, 0)
        _say(str(os.waitstatus_to_exitcode(status)))


def _forked(job: dict[str, Any]) -> None:
    try:
        work(job)
    finally:
        error = sys.exception()
        if error is not None:
            traceback.print_exception(error)
        sys.stderr.flush()
        os._exit(0 if error is None else 1)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
