"""Print the local model in `status`: its versions, the rows whose answers come from them, and versions that were set
aside.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from batchpipe.commands.printing.text import count, moment, safe
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModelStatus:
    """A version of the local model. `rows` stand as it answered; `audited` rows were asked of the next rung too.

    `accuracy` is out of fold; None where the version is known by its answers alone, as after a rebuild. `set_aside`
    says why it answers no more, `passed` whether it passed the last test on gold; None where there was none.
    `trained_at` is naive UTC.
    """

    model: str
    rows: int
    audited: int
    trained_on: int | None
    accuracy: float | None
    trained_at: datetime | None
    passed: bool | None
    set_aside: str | None


def read_local_models(session: Session, file: PipelineFile | None) -> tuple[LocalModelStatus, ...]:
    """Return the versions that have rows or were trained last, oldest first; none without a local rung.

    Reads `ledger.local_models`, `ledger.local_answers`, `ledger.decisions`, `ledger.events`.
    """
    if file is None or file.pipeline.local is None:
        return ()
    pipelines = quote_list(file.pipeline.names)
    tests = [json.loads(data) for (data,) in session.rows(query("local_tests", pipelines=pipelines))]
    passed = {each["version"]: bool(each["passed"]) for each in tests}
    rows = session.dictionaries(query("local_status", pipelines=pipelines))
    newest = max((row["version"] for row in rows), default=0)
    return tuple(
        LocalModelStatus(
            model=f"local:v{row['version']}",
            rows=row["rows"],
            audited=row["audited"],
            trained_on=row["trained_on"],
            accuracy=row["accuracy"],
            trained_at=row["trained_at"],
            passed=passed.get(row["version"]),
            set_aside=row["why"],
        )
        for row in rows
        if row["rows"] or row["version"] == newest
    )


def local_lines(models: Sequence[LocalModelStatus], pipeline: str, suggest: Callable[[str], str]) -> list[str]:
    """Return a line for each version, with the command that asks its rows again where it was set aside."""
    lines = []
    for each in models:
        learnt = ""
        if each.trained_on is not None and each.trained_at is not None and each.accuracy is not None:
            learnt = (
                f", trained {moment(each.trained_at)} on {count(each.trained_on, 'answer')}, "
                f"right on {each.accuracy:.1%} of them out of fold"
            )
        test = {True: ", passed the test on gold", False: ", did not pass the test on gold", None: ", no promise"}
        lines.append(f"  {each.model}: {count(each.rows, 'row')} stand as it answered{learnt}{test[each.passed]}")
        if each.set_aside is not None:
            lines.append(f"    {safe(each.set_aside)}")
            if each.rows:
                lines.append(f"    to ask its rows again: {suggest(f'run {pipeline} --redo {each.model}')}")
    return lines
