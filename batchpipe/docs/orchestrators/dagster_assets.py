"""A batchpipe pipeline as a Dagster asset, with a check of its answers and a schedule."""

import os

import dagster as dg

import batchpipe

PROJECT = os.environ.get("TRIAGE_PROJECT", ".")
MOST_FAILED = 0.02


def pipeline() -> batchpipe.Pipeline:
    """Return the pipeline, found anew by each step."""
    return batchpipe.Project(PROJECT).pipeline("ticket_triage")


@dg.asset(kinds={"duckdb"})
def ticket_triage() -> dg.MaterializeResult:
    """Answer the rows that are due. What was answered before is not asked again."""
    result = pipeline().run(max_usd=50)
    if result.status == "gate":
        raise dg.Failure(f"{result.gate}. {result.hint or ''}", allow_retries=False)
    return dg.MaterializeResult(
        metadata={
            "rows": result.rows["input"],
            "accepted": result.rows["accepted"],
            "failed": result.rows["failed"],
            "cost_usd": float(result.cost_usd or 0),
            "prompt_version": result.prompt_version or "",
        }
    )


@dg.asset_check(asset=ticket_triage, blocking=True)
def few_rows_failed() -> dg.AssetCheckResult:
    """Hold back what comes after where more than a few rows have no valid answer."""
    rows = pipeline().plan().rows
    share = (rows["failed"] or 0) / max(rows["input"] or 0, 1)
    return dg.AssetCheckResult(passed=share <= MOST_FAILED, metadata={"failed": rows["failed"], "share": share})


nightly = dg.ScheduleDefinition(
    name="nightly", target=dg.AssetSelection.assets(ticket_triage), cron_schedule="0 2 * * *"
)
defs = dg.Definitions(assets=[ticket_triage], asset_checks=[few_rows_failed], schedules=[nightly])
