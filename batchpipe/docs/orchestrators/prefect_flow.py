"""A batchpipe pipeline as a Prefect flow: a look every few minutes, until nothing is in flight any more."""

import os
import time

from prefect import flow, get_run_logger, task

import batchpipe

PROJECT = os.environ.get("TRIAGE_PROJECT", ".")
LOOK_SECONDS = float(os.environ.get("TRIAGE_LOOK_SECONDS", "600"))


@task(retries=3, retry_delay_seconds=60)
def look(name: str) -> dict:
    """Send what is due and collect what has ended. A provider that is away is tried again; nothing is sent twice."""
    result = batchpipe.Project(PROJECT).pipeline(name).run(wait=False, max_usd=50)
    return {"status": result.status, "gate": result.gate, "hint": result.hint, "rows": dict(result.rows)}


@flow
def ticket_triage(name: str = "ticket_triage") -> dict:
    """Answer the rows that are due, and return how the rows stand."""
    while (found := look(name))["status"] == "pending":
        get_run_logger().info("%s rows are in flight", found["rows"]["pending"])
        time.sleep(LOOK_SECONDS)
    if found["status"] != "done":
        raise RuntimeError(f"{found['gate'] or 'rows failed'}. {found['hint'] or ''}")
    return found["rows"]


if __name__ == "__main__":
    ticket_triage()
