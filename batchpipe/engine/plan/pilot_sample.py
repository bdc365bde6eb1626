"""The rows of a pilot: how many may be sent, which ones, and what they hold back."""

from __future__ import annotations

from dataclasses import dataclass

from batchpipe.engine.cost.estimate import Estimate
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.sql.quoting import Sql, sql
from batchpipe.store.database import Work
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotSample:
    """Says what may be sent while a pilot is not approved.

    `rows` more rows may; with `begun` some were sent before. A pilot begins only where `at_least` rows are due.
    `stratify` is an input column whose values share the sample. With `gold_first` rows of `work.true_values` go before
    others.
    """

    rows: int
    begun: bool
    at_least: int
    stratify: str | None
    gold_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """Describes a plan that a pilot holds back: `rows` of it may be sent now.

    `due` rows and `requests` are all that is due, `whole` the estimate of all of it. `gold` of the rows have a true
    value; it is None where nobody asks.
    """

    rows: int
    gold: int | None
    due: int
    requests: int
    whole: Estimate


def fill_pilot_sample(work: Work, sample: PilotSample, snapshot: Snapshot, reasons: Sql, rows: int) -> None:
    """Fill `work.sample` with so many rows that are due; `reasons` is a list in SQL of those that count.

    Reads `work.plan`, `work.true_values`, `snapshot`. Writes `work.sample`, `work.keys_with_gold`.
    """
    from batchpipe.engine.gold.answered_gold import fill_keys_with_gold  # most plans are held back by no pilot

    fill_keys_with_gold(work, snapshot if sample.gold_first else None)
    stratum = next(
        (sql("s.{stored}", stored=each.stored) for each in snapshot.columns if each.name == sample.stratify),
        Sql("true"),
    )
    statement = query("pilot_sample", stratum=stratum, snapshot=snapshot.relation, fresh_reasons=reasons)
    work.connection.execute(statement, {"rows": rows})
