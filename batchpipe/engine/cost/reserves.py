"""Compute what is reserved of a budget for a chunk: a bound on the sum of its costs, by what earlier results showed.

The most that a request can cost is paid for by hardly any. To reserve it for every request would let a budget cut a job
into many batches, one after another. So a chunk reserves a bound that its requests exceed together in at most one of
1,000 jobs (`batchpipe/decide/reserve.py`). Where fewer than 30 results of a rung are known, it reserves the most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_UP, Decimal
from typing import Any

from batchpipe.decide.reserve import CLASS_WIDTH, LEAST_RESULTS, Most, SeenShares, bound_usd, chunk_risk
from batchpipe.engine.cost.estimate import OVERHEAD_TOKENS
from batchpipe.engine.cost.ladder import fill_recent_results
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

PLACES = Decimal("1E-9")
# Two tokenizers of one provider make numbers of tokens of a text that differ by less than this factor.
OTHER_TOKENIZER = 2.0
# Where no result says so, the largest number of tokens per byte is expected to be this much above the mean.
LARGEST = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSums:
    """What a stretch of due requests of one rung comes to.

    `firsts` of the requests are first ones: what first requests used says what they will use. The others follow an
    invalid answer; they can cost `again_usd` at most. `bytes`, `least_bytes` and `most_bytes` are of the first ones.
    `unpriced` requests have no known price.
    """

    requests: int
    firsts: int
    bytes: int
    least_bytes: int
    most_bytes: int
    max_usd: Decimal
    again_usd: Decimal
    unpriced: int
    input_tokens: int
    output_tokens: int

    def share(self, requests: int) -> RequestSums:
        """Return about what `requests` of them come to."""
        part = requests / self.requests
        scaled = {
            name: round(getattr(self, name) * part) for name in ("firsts", "bytes", "input_tokens", "output_tokens")
        }
        usd = {name: getattr(self, name) * requests / self.requests for name in ("max_usd", "again_usd")}
        return replace(self, requests=requests, **scaled, **usd)


def sums_of_requests(connection: Connection, start: int, stop: int) -> RequestSums:
    """Return what the due requests from number `start` to before `stop` come to.

    Reads `work.to_send`.
    """
    cursor = connection.execute(query("sums_of_requests"), {"start": start, "stop": stop})
    names = [each[0] for each in cursor.description or ()]
    row = cursor.fetchone() or ()
    return RequestSums(**dict(zip(names, row, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RungReserve:
    """What is known of the requests of a rung: the prices of a token in US dollars, the room of an answer, the shares.

    A token of input costs `plain_usd`, and `input_usd` where it is written to a cache; one of output `output_usd`. In
    requests of more than `small_until` tokens both are `tier` times as dear. `seen` is None where there are too few
    results. `tokens_per_byte` is the most that texts of this prompt had on any rung; None where that is not known.
    """

    plain_usd: float
    input_usd: float
    output_usd: float
    tier: float
    small_until: int | None
    room: int
    seen: SeenShares | None = None
    least_bytes: int = 0
    tokens_per_byte: float | None = None

    def usd(self, sums: RequestSums, number: int) -> Decimal:
        """Return what is reserved for requests that are the `number`-th bounded chunk of a job."""
        first_most = sums.max_usd - sums.again_usd
        bound = min(self._bound_usd(sums, number), float(first_most))
        reserved = sums.again_usd + Decimal(repr(bound)).quantize(PLACES, ROUND_UP)
        return min(reserved, sums.max_usd)

    def _bound_usd(self, sums: RequestSums, number: int) -> float:
        """Return what first requests are reserved for."""
        if not sums.firsts:
            return 0.0
        large = self.small_until is not None and sums.most_bytes + OVERHEAD_TOKENS > self.small_until
        tier = self.tier if large else 1.0
        single_output_usd = self.room * self.output_usd * tier
        output_usd = sums.firsts * single_output_usd
        if self.seen is None:
            if self.tokens_per_byte is None:
                return float(sums.max_usd)
            return sums.bytes * self.tokens_per_byte * OTHER_TOKENIZER * self.input_usd * tier + output_usd
        least = min(sums.least_bytes, self.least_bytes or sums.least_bytes)
        written = self.input_usd / self.plain_usd if self.plain_usd else 1.0
        widest = max((1 + OVERHEAD_TOKENS / least) * written, *self.seen.input)
        per_byte = widest * self.plain_usd * tier
        most = Most(
            requests=sums.firsts,
            input_usd=sums.bytes * per_byte,
            output_usd=output_usd,
            single_usd=sums.most_bytes * per_byte + single_output_usd,
            input_share=widest,
        )
        return bound_usd(most, self.seen, chunk_risk(number))

    def after(self, requests: int, input_share: float, output_share: float) -> RungReserve:
        """Return what will be known once `requests` more results are there, if they are as they are expected to be."""
        seen = self.seen or SeenShares(results=0, input={input_share: 1}, output={output_share: 1})
        results = seen.results + requests
        if results < LEAST_RESULTS:
            return self
        more = SeenShares(results=results, input=_scaled(seen.input, results), output=_scaled(seen.output, results))
        return replace(self, seen=more)

    def with_tokens_per_byte(self, tokens_per_byte: float) -> RungReserve:
        """Return this with `tokens_per_byte`, unless more is known."""
        return self if self.tokens_per_byte is not None else replace(self, tokens_per_byte=tokens_per_byte)


def _scaled(shares: Mapping[float, int], results: int) -> dict[float, int]:
    """Return the shares as so many results would have them."""
    whole = sum(shares.values())
    return {share: max(round(count * results / whole), 1) for share, count in shares.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserves:
    """What is known of the requests of each rung. With `most` every request reserves the most that it can cost."""

    rungs: Mapping[int, RungReserve] = field(default_factory=dict)
    most: bool = False

    def usd(self, rung: int, sums: RequestSums, number: int) -> Decimal:
        """Return what is reserved for requests of `rung`, the `number`-th bounded chunk of a job."""
        known = self.rungs.get(rung)
        return sums.max_usd if self.most or known is None else known.usd(sums, number)

    def knows(self, rung: int) -> bool:
        """Return whether there are enough results of `rung`."""
        return not self.most and (found := self.rungs.get(rung)) is not None and found.seen is not None

    def after(self, rung: int, results: int, input_share: float, output_share: float) -> Reserves:
        """Return what will be known once `results` more of `rung` are there."""
        known = self.rungs.get(rung)
        if known is None:
            return self
        rungs = {**self.rungs, rung: known.after(results, input_share, output_share)}
        if results >= LEAST_RESULTS:
            rungs = {number: each.with_tokens_per_byte(input_share * LARGEST) for number, each in rungs.items()}
        return replace(self, rungs=rungs)


def read_reserves(session: Session, resolved: Resolved) -> Reserves:
    """Return what the newest results showed of the requests of each rung.

    Reads `work.ladder`, the ledger. Writes `work.seen`.
    """
    if resolved.file.pipeline.budget.reserve == "most":
        return Reserves(most=True)
    fill_recent_results(session, resolved)
    version = {"prompt_version": resolved.version.prompt_version}
    parameters = version | {"width": CLASS_WIDTH, "overhead_bytes": OVERHEAD_TOKENS}
    groups = session.dictionaries(query("seen_shares"), parameters)
    known = [each for each in groups if each["present"] and each["results"] >= LEAST_RESULTS]
    ratios = [each["tokens_per_byte"] for each in known if each["tokens_per_byte"] is not None]
    rungs = {}
    for row in session.dictionaries(Sql("SELECT * FROM work.ladder WHERE most_input_usd IS NOT NULL")):
        seen, least_bytes = _seen(groups, row["rung"])
        rungs[row["rung"]] = RungReserve(
            plain_usd=float(row["plain_input_usd"]),
            input_usd=float(row["small_most_input_usd"]),
            output_usd=float(row["small_most_output_usd"]),
            tier=_tier(row),
            small_until=row["small_until"],
            room=row["max_tokens"],
            seen=seen,
            least_bytes=least_bytes,
            tokens_per_byte=max(ratios, default=None),
        )
    return Reserves(rungs=rungs)


def _tier(row: Mapping[str, Any]) -> float:
    """Return how many times as dear a token is in large requests of a rung of `work.ladder`."""
    kinds = [(row[f"most_{kind}_usd"], row[f"small_most_{kind}_usd"]) for kind in ("input", "output")]
    return max(float(most / small) if small else 1.0 for most, small in kinds)


def _seen(groups: list[dict[str, Any]], rung: int) -> tuple[SeenShares | None, int]:
    """Return what the results of the present prompt on `rung` used, else those of the newest earlier one, widened.

    The second value is the smallest of their requests in bytes.
    """
    enough = [each for each in groups if each["rung"] == rung and each["results"] >= LEAST_RESULTS]
    found = next((each for each in enough if each["present"]), next(iter(enough), None))
    if found is None:
        return None, 0
    shares = [{CLASS_WIDTH**number: count for number, count in found[name].items()} for name in ("input", "output")]
    seen = SeenShares(results=found["results"], input=shares[0], output=shares[1])
    return seen if found["present"] else seen.widened(), found["least_bytes"]
