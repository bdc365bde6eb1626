"""Sum up a pilot: the outcomes of its rows, how many are right, and which limits of `[pilot]` it misses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batchpipe.engine.cost.estimate import Estimate
from batchpipe.engine.gold.agreement import fewest, wilson
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import shown_values
from batchpipe.pipeline.model import Pilot
from batchpipe.schema import exact_json
from batchpipe.schema.columns import Column, value_sql
from batchpipe.sql.quoting import Sql, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

if TYPE_CHECKING:
    from batchpipe.engine.gold.answered_gold import TrueValues

EXAMPLES = 10
MOST_VALUES = 30
BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotSummary:
    """Sums up a pilot. Costs are US dollars, None where a price is not known.

    `reasons` are (outcome, error, rows) of what is not valid. `values` count the rows of each allowed value of a field.
    `histograms` count rows in ten equal parts between the bounds of a field. `rest_requests` are still due, and `rest`
    is their estimate. `accuracy` is None where no `[eval]` says what is true. `shortfalls` say which limits of
    `[pilot]` the pilot misses.
    """

    rows: int
    requests: int
    valid: int
    reasons: Sequence[tuple[str, str, int]]
    values: Mapping[str, Mapping[str, int]]
    histograms: Mapping[str, Histogram]
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    rest_requests: int
    rest: Estimate
    examples: Sequence[PilotRow]
    accuracy: PilotAccuracy | None
    shortfalls: Sequence[str]

    @property
    def gate_reason(self) -> str:
        """Return why the gate is closed."""
        why = "; ".join(self.shortfalls) or "it waits for approval"
        return f"the pilot of {self.rows:,} rows has come back: {why}"

    @property
    def valid_share(self) -> float:
        """Return the share of the pilot's rows whose answer is valid."""
        return self.valid / self.rows if self.rows else 0.0

    @property
    def usd_per_row(self) -> Decimal | None:
        """Return what a row cost, in US dollars; None where a price is not known."""
        return self.cost_usd / self.rows if self.cost_usd is not None and self.rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotAccuracy:
    """Counts how many of the pilot's rows with a true value are right.

    `n` rows have come to an end, `right` of them with a right answer. `climbing` rows go up a rung, so that their
    answer does not stand yet; they are not in `n`. `made_up` says that the answers are the emulator's own.
    """

    n: int
    right: int
    climbing: int
    made_up: bool = False

    @property
    def share(self) -> float | None:
        """Return the share of right rows; None where there is no row."""
        return self.right / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the 95% interval of the share, by Wilson's formula; None where there is no row."""
        return wilson(self.right, self.n) if self.n else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts rows in ten equal parts from `low` to `high`."""

    low: float
    high: float
    rows: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotRow:
    """Shows one row of a pilot: key as texts, the input that conditions and prompt read, answer or error."""

    key: Sequence[str]
    input: Mapping[str, str | None]
    output: Mapping[str, Any] | None
    error: str | None


def sum_up_pilot(
    session: Session, resolved: Resolved, pilot: Pilot, gold: TrueValues | None, requests: int, rest: Estimate
) -> PilotSummary:
    """Sum up the rows of `work.pilot_rows`; `requests` are still due, and `rest` is their estimate.

    Reads `work.pilot_rows`, `work.true_values`, the ledger.
    """
    accuracy = pilot_accuracy(session, resolved, gold)
    totals = session.dictionaries(query("pilot_totals"))[0]
    columns = [each.name for each in resolved.hash_columns], [each.type for each in resolved.hash_columns]
    examples = [
        PilotRow(
            key=json.loads(key),
            input=shown_values(session.connection, *columns, values),
            output=exact_json.loads(output) if output is not None and valid else None,
            error=None if valid else error,
        )
        for key, values, output, error, valid in session.rows(query("pilot_examples"), {"rows": EXAMPLES})
    ]
    return PilotSummary(
        **totals,
        reasons=session.rows(query("pilot_reasons")),
        values={each.name: _values(session, each) for each in resolved.columns if _is_listed(resolved, each)},
        histograms=_histograms(session, resolved),
        rest_requests=requests,
        rest=rest,
        examples=examples,
        accuracy=accuracy,
        shortfalls=pilot_shortfalls(pilot, totals, accuracy),
    )


def pilot_accuracy(session: Session, resolved: Resolved, gold: TrueValues | None) -> PilotAccuracy | None:
    """Count how many rows of `work.pilot_rows` with a true value are right; None without `gold`.

    Reads `work.pilot_rows`, `work.true_values`, the ledger.
    """
    if gold is None:
        return None
    from batchpipe.engine.gold.answered_gold import grade_answers

    examples = [resolved.version.queries]
    found = grade_answers(session, gold, resolved.names, Sql("work.pilot_rows"), examples, ["climbs"])
    decided = [each for each in found if not each.extra[0]]
    right = sum(each.right for each in decided)
    return PilotAccuracy(n=len(decided), right=right, climbing=len(found) - len(decided))


def _inaccuracy(wanted: float, accuracy: PilotAccuracy | None) -> str | None:
    """Return why `min_accuracy` does not hold; None where it holds.

    It is compared with the low end of the interval: a prompt that is right in 8 of 10 rows is right in 18 of 20 by
    luck.
    """
    if accuracy is None or accuracy.interval is None:
        climbing = accuracy.climbing if accuracy is not None else 0
        none = "has a true value and an answer that stands" if climbing else "has a true value"
        return f"none of its rows {none}, and min_accuracy is set: label rows of the input, or remove it"
    low, high = accuracy.interval
    if low >= wanted:
        return None
    words = f"{accuracy.right:,} of its {accuracy.n:,} rows with a true value are right, {accuracy.share:.1%} "
    words += f"({low:.1%} to {high:.1%}), min_accuracy is {wanted:.1%}"
    if wilson(accuracy.n, accuracy.n)[0] < wanted:
        words += f", which takes {fewest(wanted):,} such rows or more"
    return words


def pilot_shortfalls(pilot: Pilot, totals: Mapping[str, Any], accuracy: PilotAccuracy | None) -> list[str]:
    """Return a sentence for each limit of `[pilot]` that the pilot misses."""
    found = []
    share = totals["valid"] / totals["rows"] if totals["rows"] else 0.0
    if share < pilot.min_valid:
        found.append(f"{share:.1%} of its answers are valid, min_valid is {pilot.min_valid:.1%}")
    if pilot.min_accuracy is not None:
        missed = _inaccuracy(pilot.min_accuracy, accuracy)
        found += [missed] if missed else []
    if pilot.max_usd_per_row is not None:
        cost = totals["cost_usd"]
        if cost is None:
            found.append("what a row cost is not known, and max_usd_per_row is set")
        elif cost > pilot.max_usd_per_row * totals["rows"]:
            each = cost / max(totals["rows"], 1)
            found.append(f"a row cost ${each:.6f}, max_usd_per_row is ${pilot.max_usd_per_row}")
    return found


def _is_listed(resolved: Resolved, column: Column) -> bool:
    """Return whether the values of `column` are few and known: a boolean, or one with an `enum`."""
    node = resolved.full_schema.get("properties", {}).get(column.name, {})
    return column.type == "BOOLEAN" or (isinstance(node, Mapping) and 0 < len(node.get("enum", ())) <= MOST_VALUES)


def _values(session: Session, column: Column) -> dict[str, int]:
    """Count the rows of `work.pilot_rows` by the value of `column`."""
    found = session.rows(query("pilot_values", value=value_sql(column, "output")))
    return {"null" if value is None else str(value): rows for value, rows in found}


def _histograms(session: Session, resolved: Resolved) -> dict[str, Histogram]:
    """Return a histogram of each number that has both bounds, as a confidence has.

    Reads `work.pilot_rows`.
    """
    found = {}
    for column in resolved.columns:
        node = resolved.full_schema.get("properties", {}).get(column.name, {})
        low, high = (node.get("minimum"), node.get("maximum")) if isinstance(node, Mapping) else (None, None)
        if node.get("type") != "number" or low is None or high is None or low >= high:
            continue
        statement = query("pilot_histogram", value=sql("({value})::DOUBLE", value=value_sql(column, "output")))
        bins = dict(session.rows(statement, {"low": float(low), "high": float(high)}))
        rows = tuple(bins.get(number, 0) for number in range(BINS))
        found[column.name] = Histogram(low=float(low), high=float(high), rows=rows)
    return found
