"""Run a batchpipe pipeline from Airflow. Each look is a short task: between two looks no worker waits."""

import os
from datetime import timedelta

from airflow.exceptions import AirflowFailException
from airflow.sdk import PokeReturnValue, dag, task

PROJECT = os.environ.get("TRIAGE_PROJECT", ".")
BETWEEN_LOOKS = timedelta(seconds=float(os.environ.get("TRIAGE_LOOK_SECONDS", "600")))


@dag(dag_id="ticket_triage", schedule="@daily", catchup=False, max_active_runs=1)
def ticket_triage():
    """Answer the tickets of the day."""

    @task.sensor(poke_interval=BETWEEN_LOOKS.total_seconds(), timeout=2 * 86_400, mode="reschedule")
    def look() -> PokeReturnValue:
        """Send what is due, collect what has ended, and leave the worker while batches are in flight."""
        import batchpipe

        result = batchpipe.Project(PROJECT).pipeline("ticket_triage").run(wait=False, max_usd=50)
        if result.status == "gate":  # a person has to decide: trying again helps nobody
            raise AirflowFailException(f"{result.gate}. {result.hint or ''}")
        if result.status == "failed_rows":
            raise AirflowFailException(f"{result.rows['failed']} rows failed")
        return PokeReturnValue(is_done=result.status == "done", xcom_value=dict(result.rows))

    @task
    def report(rows: dict) -> int:
        """Say how many rows are answered, for what comes after."""
        print(f"{rows['accepted']} of {rows['input']} rows are answered")
        return rows["accepted"]

    report(look())


triage = ticket_triage()

if __name__ == "__main__":
    triage.test()
