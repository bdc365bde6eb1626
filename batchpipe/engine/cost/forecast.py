"""Compute expected costs and their interval from what earlier results showed.

A request's tokens are a fixed part and a part per byte. A row climbs from rung to rung with the share of rows that
climbed before. So a row from rung r on costs C(r) = k(r) + c(r) C(next): k is the cost of the requests on one rung,
tries included, and c is the share of rows that climb. Its variance is V(r) = v(r) + c V(next) + c (1 - c) C(next)^2.
The means themselves are not known exactly: the standard errors of k and c, which follow from the number of results, are
added. The sum is taken as log-normal, because it is never below zero, and the interval holds 90% of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import ceil, exp, log, sqrt

from batchpipe.decide.tokens import BYTES_PER_TOKEN

# 90% of a normal distribution lie within this number of standard deviations.
DEVIATIONS_OF_90_PERCENT = 1.645
SHARE_OF_ROOM = 0.3
SHARE_THAT_CLIMBS = 0.2
ENOUGH_RESULTS = 20
# Where there are few results, they are averaged with this number of assumed ones.
WEIGHT_OF_ASSUMED = 5
# Standard errors, as shares of a request's cost: assumed, known from other rungs, known from other prompts.
ERROR_ASSUMED, ERROR_OTHER_RUNGS, ERROR_OTHER_PROMPTS = 0.7, 0.3, 0.1
SPREAD_ASSUMED = 0.5
# A slope (tokens per byte) outside of these bounds is chance, from few sizes. A slope counts above 3 standard errors.
LEAST_SLOPE, GREATEST_SLOPE, BELIEVED = 0.02, 1.0, 3.0
WORST_RETRIES = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class PastResults:
    """Earlier results of one rung's settings, or of all settings: counts, averages, and the line through (bytes,
    tokens).

    `billed` results were paid for. `ended` results decided what became of their row on the rung; `climbable` of them
    had a rung above. Variances are of tokens, `*_slope` is in tokens per byte, `*_fit` is the squared correlation with
    the bytes.
    """

    billed: int = 0
    ended: int = 0
    retried: int = 0
    climbable: int = 0
    climbed: int = 0
    climbable_tokens: float = 0.0
    climbed_tokens: float = 0.0
    present: bool = False
    bytes: float = 0.0
    first_input: float = 0.0
    input: float = 0.0
    input_variance: float = 0.0
    input_slope: float = 0.0
    input_fit: float = 0.0
    output: float = 0.0
    output_variance: float = 0.0
    output_slope: float = 0.0
    output_fit: float = 0.0

    @property
    def enough(self) -> bool:
        """Return whether there are enough results to rely on them alone."""
        return self.billed >= ENOUGH_RESULTS


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLine:
    """The tokens of a request: `fixed + per_byte * bytes`. `deviation` is the standard deviation of single requests."""

    fixed: float
    per_byte: float
    deviation: float

    def at(self, size: float) -> float:
        """Return the tokens of a request of `size` bytes."""
        return self.fixed + self.per_byte * size

    def times(self, factor: float) -> TokenLine:
        """Return the line with all its numbers multiplied by `factor`."""
        return TokenLine(fixed=self.fixed * factor, per_byte=self.per_byte * factor, deviation=self.deviation * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class RungForecast:
    """What to expect of the requests on one rung.

    `tries`: paid requests per row on this rung; `input_tries`: the same, weighted by input tokens. `climb`: share of
    rows that go up; `climb_tokens`: the same, weighted by input tokens. `spread`: standard deviation of one request's
    cost, `error`: standard error of the mean cost, both as shares of a request's cost. `tries_error` and `climb_error`
    are absolute.
    `seen`: number of earlier results with the same model and settings that this forecast is based on.
    """

    input: TokenLine
    output: TokenLine
    tries: float = 1.0
    input_tries: float = 1.0
    tries_error: float = 0.0
    climb: float = 0.0
    climb_tokens: float = 0.0
    climb_error: float = 0.0
    spread: float = SPREAD_ASSUMED
    error: float = ERROR_ASSUMED
    seen: int = 0

    def once(self) -> RungForecast:
        """Return the forecast for rows that are asked once: without retries and climbs."""
        alone = replace(self, tries=1.0, input_tries=1.0, tries_error=0.0)
        return replace(alone, climb=0.0, climb_tokens=0.0, climb_error=0.0)


def forecast_rung(
    own: PastResults, everything: PastResults, room: int, climbs: bool, usd: tuple[float, float]
) -> RungForecast:
    """Return what to expect of a rung with `room` output tokens and prices per token `usd` (input, output).

    Enough results of the rung itself (`own`) are used alone. A few of them are weighed against the pipeline's other
    results (`everything`), and those against what is assumed. `climbs`: whether the rung has an `accept`, so that rows
    may climb.
    """
    input_line, output_line, error = _assumed(room)
    if everything.enough:
        input_line, output_line, error = _input_line(everything), _output_line(everything), ERROR_OTHER_RUNGS
    if own.enough:
        input_line, output_line = _input_line(own), _output_line(own)
    elif own.billed:
        weight = own.billed / (own.billed + WEIGHT_OF_ASSUMED)
        input_line = input_line.times(_ratio(own.input, input_line.at(own.bytes)))
        output_line = output_line.times(weight * _ratio(own.output, output_line.at(own.bytes)) + 1 - weight)
        error *= 1 - weight
    found = RungForecast(input=input_line, output=output_line, seen=own.billed, error=error)
    if own.billed:
        spread = _spread(own, found, usd)
        known = spread / sqrt(own.billed)
        unknown = (0.0 if own.enough else error, 0.0 if own.present else ERROR_OTHER_PROMPTS)
        found = replace(found, spread=spread, error=sqrt(known**2 + sum(each**2 for each in unknown)))
    return _with_tries(_with_climbs(found, own, climbs), own)


def _assumed(room: int) -> tuple[TokenLine, TokenLine, float]:
    """Return the input line, the output line and the standard error that are assumed without any results."""
    output = room * SHARE_OF_ROOM
    return (
        TokenLine(fixed=0.0, per_byte=1 / BYTES_PER_TOKEN, deviation=0.0),
        TokenLine(fixed=max(output, 1.0), per_byte=0.0, deviation=output * SPREAD_ASSUMED),
        ERROR_ASSUMED,
    )


def _input_line(shown: PastResults) -> TokenLine:
    """Return the fitted line where request sizes vary enough to show one; else tokens in proportion to bytes."""
    if LEAST_SLOPE <= shown.input_slope <= GREATEST_SLOPE and _is_believed(shown.input_fit, shown.billed):
        return _fitted(shown.input, shown.input_slope, shown.input_fit, shown.input_variance, shown.bytes)
    ratio = _ratio(shown.input, shown.bytes)
    return TokenLine(fixed=0.0, per_byte=ratio, deviation=sqrt(shown.input_variance))


def _output_line(shown: PastResults) -> TokenLine:
    """Return the fitted line where longer requests had longer answers; else the mean."""
    if 0 < shown.output_slope <= GREATEST_SLOPE and _is_believed(shown.output_fit, shown.billed):
        return _fitted(shown.output, shown.output_slope, shown.output_fit, shown.output_variance, shown.bytes)
    return TokenLine(fixed=shown.output, per_byte=0.0, deviation=sqrt(shown.output_variance))


def _fitted(mean: float, slope: float, fit: float, variance: float, size: float) -> TokenLine:
    """Return the line through the mean with the fitted slope; `fit` is the share of the variance that it explains."""
    return TokenLine(fixed=mean - slope * size, per_byte=slope, deviation=sqrt(variance * max(1 - fit, 0.0)))


def _is_believed(fit: float, results: int) -> bool:
    """Return whether a correlation of `results` points is more than chance, by its t value."""
    return fit * (results - 2) > BELIEVED**2 * (1 - fit)


def _ratio(value: float, by: float) -> float:
    """Return `value / by`; 1 where one of them is not above 0."""
    return value / by if value > 0 and by > 0 else 1.0


def _spread(own: PastResults, found: RungForecast, usd: tuple[float, float]) -> float:
    """Return the standard deviation of a request's cost, as a share of the mean cost."""
    mean = own.input * usd[0] + own.output * usd[1]
    deviation = sqrt((found.input.deviation * usd[0]) ** 2 + (found.output.deviation * usd[1]) ** 2)
    return _ratio(deviation, mean) if deviation else 0.0


def _with_climbs(found: RungForecast, own: PastResults, climbs: bool) -> RungForecast:
    """Return the forecast with the share of rows that climb, and its standard error."""
    assumed = SHARE_THAT_CLIMBS if climbs else 0.0
    few = own.climbable < ENOUGH_RESULTS
    weight = WEIGHT_OF_ASSUMED if few else 0
    counted = own.climbable + weight
    climb = (own.climbed + weight * assumed) / counted
    by_tokens = own.climbed_tokens / own.climbable_tokens if not few and _climbers_differ(own) else climb
    # Few results may hide a share above 0: the standard error is that of (k + 1) / (n + 2).
    likely = (climb * counted + 1) / (counted + 2)
    error = sqrt(likely * (1 - likely) / (counted + 2)) if climbs or own.climbable else 0.0
    return replace(found, climb=climb, climb_tokens=by_tokens, climb_error=error)


def _climbers_differ(own: PastResults) -> bool:
    """Return whether the requests of rows that climbed were longer or shorter than chance explains."""
    if not own.climbed or not own.climbable_tokens:
        return False
    apart = own.climbed_tokens / own.climbed - own.climbable_tokens / own.climbable
    return apart**2 * own.climbed > 2**2 * own.input_variance


def _with_tries(found: RungForecast, own: PastResults) -> RungForecast:
    """Return the forecast with the paid requests per row, and their standard error."""
    if not own.ended and not own.retried:
        return found
    weight = WEIGHT_OF_ASSUMED if own.ended < ENOUGH_RESULTS else 0
    again = min(own.retried / max(own.retried + own.ended + weight, 1), WORST_RETRIES)
    unpaid = (own.ended + own.retried - own.billed) / max(own.ended + own.retried, 1)
    tries = (1 - max(unpaid, 0.0)) / (1 - again)
    error = sqrt(again * (1 - again) / (own.ended + own.retried + weight)) / (1 - again) ** 2
    longer = _ratio(own.input, own.first_input) if own.enough else 1.0
    return replace(found, tries=tries, input_tries=tries * longer, tries_error=error)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueGroup:
    """Due requests of one rung. Their rows may use the rungs of `path`, this one first.

    `input_tokens` and `output_tokens` are those of one try on each rung of `path`, if every row reached that rung.
    """

    requests: int
    path: tuple[int, ...]
    input_tokens: tuple[float, ...]
    output_tokens: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RungUsd:
    """Expected requests, tokens and US dollars of one rung. A cost is None where the rung's price is not known."""

    rung: int
    model: str
    requests: float
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    realtime_usd: Decimal | None


def reaches(path: Sequence[int], expected: Mapping[int, RungForecast]) -> list[tuple[float, float]]:
    """Return for each rung of `path` the share of rows, and the share of input tokens, that reach it from the first
    rung.
    """
    found, rows, tokens = [], 1.0, 1.0
    for rung in path:
        found.append((rows, tokens))
        rows, tokens = rows * expected[rung].climb, tokens * expected[rung].climb_tokens
    return found


def deviation(
    groups: Sequence[DueGroup], expected: Mapping[int, RungForecast], usd: Mapping[int, tuple[float, float]]
) -> float:
    """Return the standard deviation (US dollars) of the cost of `groups`.

    Formulas: the head of this module.
    """
    variance = 0.0
    of_means: dict[int, float] = {}
    of_tries: dict[int, float] = {}
    of_climbs: dict[int, float] = {}
    for group in groups:
        reached = reaches(group.path, expected)
        above = above_variance = 0.0
        for place in range(len(group.path) - 1, -1, -1):
            rung = group.path[place]
            each, (rows, _) = expected[rung], reached[place]
            tokens = group.input_tokens[place] * usd[rung][0], group.output_tokens[place] * usd[rung][1]
            once = sum(tokens) / group.requests
            cost = (tokens[0] * each.input_tries + tokens[1] * each.tries) / group.requests
            again = max(1 - 1 / each.tries, 0.0) if each.tries else 0.0
            own = each.tries * (each.spread * once) ** 2 + again / (1 - again) ** 2 * once**2
            whole = group.requests * rows
            of_means[rung] = of_means.get(rung, 0.0) + whole * cost * each.error
            of_tries[rung] = of_tries.get(rung, 0.0) + whole * once * each.tries_error
            of_climbs[rung] = of_climbs.get(rung, 0.0) + whole * above * each.climb_error
            above_variance = own + each.climb * above_variance + each.climb * (1 - each.climb) * above**2
            above = cost + each.climb * above
        variance += group.requests * above_variance
    shared = [*of_means.values(), *of_tries.values(), *of_climbs.values()]
    return sqrt(variance + sum(each**2 for each in shared))


def interval(cost_usd: Decimal, deviation_usd: float) -> tuple[Decimal, Decimal]:
    """Return the US dollars between which a log-normal sum lies with a probability of 90%."""
    if not cost_usd:
        return Decimal(0), Decimal(0)
    width = exp(DEVIATIONS_OF_90_PERCENT * sqrt(log(1 + (deviation_usd / float(cost_usd)) ** 2)))
    factor = Decimal(repr(width))
    places = Decimal("1E-15")
    return (cost_usd / factor).quantize(places), (cost_usd * factor).quantize(places)


def further_waves(
    groups: Sequence[DueGroup],
    expected: Mapping[int, RungForecast],
    per_wave: int,
    batch_rungs: Collection[int],
    stragglers: int,
) -> int:
    """Return the rounds of batches after the first ones: those of retries, and those of the rungs above.

    A round has up to `per_wave` requests. Rungs that are not in `batch_rungs` are asked in realtime, and so is every
    later request where there are at most `stragglers` of them.
    """
    first: dict[int, float] = {}
    again: dict[int, float] = {}
    for group in groups:
        for place, (rung, (rows, _)) in enumerate(zip(group.path, reaches(group.path, expected), strict=True)):
            arriving = group.requests * rows
            if place:
                first[rung] = first.get(rung, 0.0) + arriving
            again[rung] = again.get(rung, 0.0) + arriving * max(expected[rung].tries - 1, 0.0)
    later = [(rung, each) for found in (first, again) for rung, each in found.items()]
    if round(sum(each for _, each in later)) <= stragglers:
        return 0
    return sum(ceil(each / max(per_wave, 1)) for rung, each in later if each >= 0.5 and rung in batch_rungs)
