"""How many statements a plan runs: few where nothing is due, and not more with every table of the project."""

from __future__ import annotations

import json
import os
from pathlib import Path

import duckdb
from checkout import batchpipe, python
from helpers.chains import write_chain

# For each pipeline of a chain whose rows are all answered; four of them open and close the database.
MOST_STATEMENTS = 90
MOST_OPENINGS = 4


def counted(root: Path, *arguments: str) -> dict[str, int]:
    """Return how often the command line with `arguments` runs each statement."""
    path = root / "statements.json"
    ended = python(["-m", "tests.benchmarks.profiled", "statements", str(path), *arguments], cwd=root)
    assert ended.returncode == 0, ended.stderr
    return {each["name"]: each["calls"] for each in json.loads(path.read_text(encoding="utf-8"))}


def test_a_plan_of_a_chain_needs_few_statements_for_each_pipeline(tmp_path: Path) -> None:
    write_chain(tmp_path)
    emulated = ("--emulator", "--answers", str(tmp_path / "answers.jsonl"))
    quick = {**os.environ, "BATCHPIPE_POLL_INTERVAL": "0.02"}
    ran = batchpipe("run", "--all", "--yes", *emulated, cwd=tmp_path, environment=quick)
    assert ran.returncode == 0, ran.stderr

    found = counted(tmp_path, "plan", "--all", *emulated)

    per_pipeline = {name: calls / 3 for name, calls in found.items()}
    assert sum(per_pipeline.values()) <= MOST_STATEMENTS, found
    opened = [calls for name, calls in found.items() if name.startswith("ATTACH '...' AS \"store")]
    assert sum(opened) <= 3 * MOST_OPENINGS + 2  # and once to look at the schema, and at the renames
    # What looks at open batches, pilots, budgets and candidates is left out where there are none.
    for name in ("open_load", "open_batches", "pending", "pilot_standing", "spent", "candidates", "tries"):
        assert name not in found

    # Tables that no pipeline reads cost nothing.
    with duckdb.connect(str(tmp_path / ".batchpipe" / "emulator" / "batchpipe.duckdb")) as database:
        for number in range(20):
            database.execute(f"CREATE TABLE other_{number} AS SELECT {number} AS id")
    assert sum(counted(tmp_path, "plan", "--all", *emulated).values()) == sum(found.values())
