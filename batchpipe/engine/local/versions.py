"""The versions of the local model in the ledger: read, recorded, set aside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from batchpipe.engine.ledger.events import add_event, standing_reviews
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedLocalVersion:
    """A version of the local model as it is recorded.

    `answers` is how many could be learnt from when it was trained, `trained_on` how many it was trained on. `accuracy`
    is out of fold. `recorded_at` is naive UTC.
    """

    version: int
    shape: str
    answers: int
    trained_on: int
    accuracy: float
    recorded_at: datetime
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVersions:
    """What the ledger knows: the versions, oldest first, those that are set aside, and the number of the next one.

    `contradicted`: a person has contradicted an answer of the local model since the newest version was trained.
    `tests` are the tests on gold, oldest first.
    """

    versions: tuple[RecordedLocalVersion, ...]
    set_aside: frozenset[int]
    next_number: int
    contradicted: bool
    tests: tuple[Mapping[str, Any], ...] = ()

    @property
    def newest(self) -> RecordedLocalVersion | None:
        """Return the newest version; None where there is none."""
        return self.versions[-1] if self.versions else None


def read_versions(session: Session, resolved: Resolved) -> KnownVersions:
    """Return the versions of a pipeline's local model.

    Reads `ledger.local_models`, `ledger.local_answers`, `ledger.events`, `ledger.reviews`.
    """
    pipelines = quote_list(resolved.names)
    rows = session.dictionaries(query("local_models", pipelines=pipelines))
    versions = tuple(RecordedLocalVersion(**{**row, "shape": row["shape"].replace("-", "")}) for row in rows)
    aside = session.rows(query("local_set_aside", pipelines=pipelines))
    contradicted = False
    if versions:
        reviewed = standing_reviews(session, resolved.names)
        statement = query("local_contradicted", pipelines=pipelines, reviewed=reviewed)
        contradicted = bool(session.one(statement, {"seq": versions[-1].seq})[0])
    return KnownVersions(
        versions=versions,
        set_aside=frozenset(number for (number,) in aside),
        next_number=int(session.one(query("local_versions_used", pipelines=pipelines))[0]) + 1,
        contradicted=contradicted,
        tests=tuple(json.loads(data) for (data,) in session.rows(query("local_tests", pipelines=pipelines))),
    )


def read_model(session: Session, resolved: Resolved, version: int) -> tuple[str, bytes]:
    """Return the JSON text and the arrays of a version. Reads `ledger.local_models`."""
    document, arrays = session.one(query("local_model", pipelines=quote_list(resolved.names)), {"version": version})
    return str(document), bytes(arrays)


def record_local_version(session: Session, resolved: Resolved, run_id: str, values: Mapping[str, Any]) -> None:
    """Record a version; `values` are its columns. Writes `ledger.local_models`."""
    stamp = {"pipeline": resolved.name, "run_id": run_id, "now": session.now, "seq": session.seq}
    session.execute(query("insert_local_model"), {**stamp, **values})


def set_aside(session: Session, resolved: Resolved, run_id: str, version: int, why: str) -> None:
    """Record that a version answers no more, and why. Writes `ledger.events`."""
    add_event(session, resolved.name, "local_set_aside", {"version": version, "why": why}, run_id=run_id)


def usable_version(known: KnownVersions, shape: str) -> RecordedLocalVersion | None:
    """Return the newest version, unless it is of another shape or set aside."""
    newest = known.newest
    return newest if newest is not None and newest.shape == shape and newest.version not in known.set_aside else None
