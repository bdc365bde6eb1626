"""Find requests that are too long for their rung's model: which go to a higher rung at once, and what they cost there.

A request goes up beforehand only if it is too long even where its bytes make few tokens. Otherwise it is tried: the
provider's answer that it is too long costs nothing, and sends it up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import inf

from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

# Texts of all languages have fewer bytes a token: English 4 to 5, Cyrillic 5 to 6, Chinese 3.
MOST_BYTES_PER_TOKEN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLong:
    """Says of `requests` with `tokens` of input together that they are too long for `model`, which takes `context`.

    `certain` ones go to the model `goes_to` at once, the others are tried first, which costs nothing. `goes_to` is None
    where no rung takes them: they are sent to the model `tried`, which is expected to refuse them. `cost_usd` is
    expected where they go, in US dollars; None where the price is not known.
    """

    model: str
    context: int
    requests: int
    tokens: int
    certain: bool
    goes_to: str | None
    tried: str
    cost_usd: Decimal | None


def longest_requests(resolved: Resolved) -> list[float]:
    """Return for each rung the bytes above which a request is too long for its model whatever it says."""
    return [inf if each is None else each * MOST_BYTES_PER_TOKEN for each in resolved.contexts]


def rung_that_takes(size: int, rung: int, rungs: int, longest: Sequence[float]) -> int:
    """Return the first usable rung from `rung` on that takes `size` bytes; where none does, the one that takes most.

    Bit r - 1 of `rungs` says whether the row may use rung r.
    """
    usable = [each for each in range(rung, len(longest) + 1) if each == rung or rungs >> (each - 1) & 1]
    fitting = next((each for each in usable if size <= longest[each - 1]), None)
    return fitting if fitting is not None else max(usable, key=lambda each: longest[each - 1])


def too_long(session: Session, resolved: Resolved) -> list[TooLong]:
    """Return the due requests that are too long for a model, or that are expected to be.

    Reads `work.to_send`, `work.ladder`.
    """
    known = resolved.contexts
    if not any(each is not None for each in known):
        return []
    rows = session.dictionaries(query("too_long"), {"contexts": known})
    if not rows:
        return []
    prices = {each["rung"]: each for each in session.dictionaries(Sql("SELECT * FROM work.ladder"))}
    found = []
    for row in rows:
        rung, each_tokens = row["from_rung"], row["input_tokens"] / row["requests"]
        takes = [
            number
            for number in range(rung + 1, len(known) + 1)
            if row["rungs"] >> (number - 1) & 1 and (each_tokens <= (known[number - 1] or inf))
        ]
        goes_to = row["rung"] if row["certain"] else next(iter(takes), None)
        fits = goes_to is not None and each_tokens <= (known[goes_to - 1] or inf)
        price = prices.get(goes_to) if fits else None
        cost = None
        if price is not None and price["input_usd"] is not None:
            cost = row["input_tokens"] * price["input_usd"] + row["output_tokens"] * price["output_usd"]
        found.append(
            TooLong(
                model=resolved.rungs[rung - 1].model,
                context=known[rung - 1] or 0,
                requests=row["requests"],
                tokens=row["input_tokens"],
                certain=row["certain"],
                goes_to=resolved.rungs[goes_to - 1].model if fits and goes_to is not None else None,
                tried=resolved.rungs[row["rung"] - 1].model,
                cost_usd=cost,
            )
        )
    return found
