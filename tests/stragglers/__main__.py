"""`python -m tests.stragglers [ROWS [STRAGGLERS]]`: 500 rows of 50,000 that are asked in realtime after the batches.

The same job runs three times over the emulator: with all retries in batches, with the retries in realtime, and with
storms of 429 and a kill in the middle of the realtime calls. Printed are the seconds, the US dollars, and how many
answers differ from those of the batches. Exit 1 where an answer differs, or where more was paid than is booked.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from batchpipe.emulator import Emulator

PIPELINE = """
[input]
query = "SELECT id, body FROM read_csv('rows.csv')"
key = "id"

[prompt]
user_text = "{{{{ body }}}}"

[output.fields.label]
type = "string"
enum = ["billing", "bug", "other"]

[[models]]
model = "claude-haiku-4-5"
max_tokens = 100

[retry]
stragglers = {stragglers}
"""
STORM = [
    {"call": "message", "fault": "status:429", "times": 60, "retry_after": 0.2, "after": 50},
    {"call": "message", "fault": "status:529", "times": 20, "after": 150},
    {"call": "message", "fault": "reset", "times": 2, "after": 250},
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What came of one job: seconds of the last wave, US dollars, what was booked beside them, and the answers."""

    seconds: float
    cost_usd: Decimal
    booked_usd: Decimal
    realtime: int
    bought: int
    answers: Mapping[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A project with its emulator."""

    root: Path
    emulator: Emulator

    @property
    def environment(self) -> dict[str, str]:
        names = ("PATH", "HOME", "PYTHONPATH")
        return {
            **{name: os.environ[name] for name in names if name in os.environ},
            "ANTHROPIC_API_KEY": "test-key",
            "ANTHROPIC_BASE_URL": self.emulator.base_url,
            "BATCHPIPE_POLL_INTERVAL": "0.2",
            "BATCHPIPE_RECONCILE_WAIT": "1",
        }

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "batchpipe", "run", "job", "--json"]
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def calls(self, status: int | None = None) -> int:
        """Return how many realtime calls were made, or those that were answered with `status`."""
        with urllib.request.urlopen(f"{self.emulator.base_url}/emulator/log") as answer:
            log = json.load(answer)
        made = [each for each in log["calls"] if (each["method"], each["path"]) == ("POST", "/v1/messages")]
        return sum(status is None or each["status"] == status for each in made)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.root / "batchpipe.duckdb"), read_only=True) as connection:
            return connection.execute(statement).fetchall()


def played(folder: Path, rows: int, wrong: int, *, stragglers: int, storm: bool) -> Job:
    """Run one job to its end, with `wrong` rows that have no valid answer at first."""
    folder.mkdir()
    (folder / "pipelines").mkdir()
    (folder / "batchpipe.toml").touch()
    (folder / "pipelines" / "job.toml").write_text(PIPELINE.format(stragglers=stragglers))
    bodies = [f"{'odd' if number <= wrong else 'plain'} text {number}." for number in range(1, rows + 1)]
    lines = [f'{number},"{body}"' for number, body in enumerate(bodies, start=1)]
    (folder / "rows.csv").write_text("\n".join(["id,body", *lines]) + "\n")
    rules: dict[str, Any] = {"requests": [{"match": "odd text", "outcome": "invalid_json", "times": wrong}]}
    if storm:
        rules["calls"] = STORM
    (folder / "rules.json").write_text(json.dumps(rules))
    emulator = Emulator(folder / "service", faults=folder / "rules.json")
    emulator.start()
    desk = Desk(root=folder, emulator=emulator)
    try:
        began, run, killed = time.monotonic(), desk.start(), not storm
        while run.poll() is None:
            time.sleep(0.1)
            if not killed and desk.calls(200) >= wrong // 2:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
                run, killed = desk.start(), True
        assert run.returncode == 0, run.communicate()
        return _found(desk, time.monotonic() - began)
    finally:
        emulator.stop()


def _found(desk: Desk, seconds: float) -> Job:
    """Return what the database says of a job that is over."""
    (span,) = desk.sql(
        "SELECT max(r.recorded_at) - min(b.prepared_at) FROM ledger.batches b JOIN ledger.results r USING (chunk_id) "
        "WHERE b.mode = 'realtime'"
    )
    (paid,) = desk.sql("SELECT sum(cost_usd) FROM ledger.results WHERE NOT judged_again")
    (booked,) = desk.sql(
        "SELECT coalesce(sum((data ->> 'held_usd')::DECIMAL(38, 15)), 0) FROM ledger.events WHERE kind = 'cost_unknown'"
    )
    (realtime,) = desk.sql("SELECT coalesce(sum(requests), 0) FROM ledger.batches WHERE mode = 'realtime'")
    return Job(
        seconds=span[0].total_seconds() if span[0] is not None else seconds,
        cost_usd=paid[0],
        booked_usd=booked[0],
        realtime=int(realtime[0]),
        bought=desk.calls(200),
        answers=dict(desk.sql("SELECT id, label FROM job WHERE _current")),
    )


def main(arguments: list[str]) -> int:
    rows, wrong = ([*map(int, arguments), 50_000, 500] if not arguments else [*map(int, arguments), 500])[:2]
    broken = False
    with tempfile.TemporaryDirectory(prefix="batchpipe-") as made:
        jobs = {
            "all in batches": played(Path(made) / "batches", rows, wrong, stragglers=0, storm=False),
            "the last in realtime": played(Path(made) / "realtime", rows, wrong, stragglers=wrong, storm=False),
            "with storms and a kill": played(Path(made) / "storm", rows, wrong, stragglers=wrong, storm=True),
        }
    usual = jobs["all in batches"].answers
    for name, job in jobs.items():
        differ = sum(job.answers.get(number) != label for number, label in usual.items())
        missing = rows - len(job.answers)
        broken = broken or bool(differ or missing or (job.realtime and job.booked_usd < 0))
        sys.stdout.write(
            f"{name}: {job.seconds:.1f} s, ${job.cost_usd:.4f} and ${job.booked_usd:.4f} booked, {job.bought:,} calls "
            f"answered, {differ} answers differ, {missing} missing\n"
        )
    return int(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
