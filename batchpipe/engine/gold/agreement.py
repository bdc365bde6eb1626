"""Compute how often people agreed with the models whose answers they reviewed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from batchpipe.engine.ledger.events import not_withdrawn
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

Z_95 = 1.959963984540054  # the normal distribution's 0.975 quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """The share of right answers: `agreed` of `n` reviewed answers were right as they were.

    `name` is a field, a reason for the review, or a person.
    """

    name: str
    n: int
    agreed: int

    @property
    def share(self) -> float | None:
        """Return the share from 0 to 1; None where there is no answer."""
        return self.agreed / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the 95% interval of the share; None where there is no answer."""
        return wilson(self.agreed, self.n) if self.n else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The agreement over whole answers: in total, by the reason for the review (ladder, where, sample), by field, by
    person.
    """

    total: Agreed
    chosen: Sequence[Agreed]
    fields: Sequence[Agreed]
    people: Sequence[Agreed]


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the 95% score interval of a share; `n` is above 0.

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n): E. B. Wilson, Probable inference, the law of succession, and
    statistical inference, Journal of the American Statistical Association 22 (1927), 209-212.
    """
    share, square = successes / n, Z_95 * Z_95
    centre = share + square / (2 * n)
    reach = Z_95 * sqrt(share * (1 - share) / n + square / (4 * n * n))
    scale = 1 + square / n
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)


def fewest(share: float) -> int:
    """Return how many successes in a row are needed so that the interval begins at `share` (below 1): n / (n + z²) >=
    share.
    """
    return ceil(Z_95 * Z_95 * share / (1 - share))


def read_agreement(session: Session, names: Sequence[str]) -> Agreement:
    """Return how often people agreed with the answers of the pipelines called `names`.

    Reads `ledger.reviews`.
    """
    statement = query("agreement", pipelines=quote_list(names), not_withdrawn=not_withdrawn(names))
    rows = session.rows(statement)
    by_kind: dict[str, list[Agreed]] = {"all": [], "chosen": [], "field": [], "person": []}
    for kind, name, n, agreed in rows:
        by_kind[kind].append(Agreed(name=name, n=n, agreed=agreed))
    return Agreement(
        total=by_kind["all"][0], chosen=by_kind["chosen"], fields=by_kind["field"], people=by_kind["person"]
    )
