"""Scales from values to places in a picture, linear and logarithmic, with ticks at round numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

STEPS = (1, 2, 5, 10)
MOST_DECADES_WITH_STEPS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Places for the values from `low` to `high`: `low` lies at `begin`, `high` at `end`; `ticks` are round values."""

    low: float
    high: float
    begin: float
    end: float
    ticks: Sequence[float]
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return the place of a value, at most at the ends of the scale."""
        inside = min(max(value, self.low), self.high)
        if self.logarithmic:
            part = log10(inside / self.low) / log10(self.high / self.low)
        else:
            part = (inside - self.low) / (self.high - self.low)
        return round(self.begin + part * (self.end - self.begin), 1)


def step(span: float, ticks: int) -> float:
    """Return the distance of ticks: 1, 2 or 5 times a power of ten, so that about `ticks` of them fill the span."""
    if not isfinite(span) or span <= 0:
        return 1.0
    power = 10.0 ** floor(log10(span / ticks))
    return next(factor * power for factor in STEPS if factor * power * ticks >= span * 0.999)


def linear(values: Sequence[float], begin: float, end: float, *, ticks: int = 5, zero: bool = False) -> Scale:
    """Return a scale that holds all `values`, from one tick to another; with `zero` it begins at 0."""
    found = [each for each in values if isfinite(each)] or [0.0]
    low, high = (min(0.0, *found) if zero else min(found)), max(found)
    if high <= low:
        low, high = (0.0, 1.0) if zero and high <= 0 else (0.0, high) if zero else (low - 0.5, high + 0.5)
    size = step(high - low, ticks)
    first, last = floor(low / size + 1e-9), ceil(high / size - 1e-9)
    last = max(last, first + 1)
    marks = [round(number * size, 12) for number in range(first, last + 1)]
    return Scale(low=marks[0], high=marks[-1], begin=begin, end=end, ticks=marks)


def within(low: float, high: float, begin: float, end: float, *, ticks: int = 5) -> Scale:
    """Return a scale that has exactly these ends."""
    size = step(high - low, ticks)
    first, last = ceil(low / size - 1e-9), floor(high / size + 1e-9)
    marks = [round(number * size, 12) for number in range(first, last + 1)]
    return Scale(low=low, high=high, begin=begin, end=end, ticks=marks)


def logarithmic(values: Sequence[float], begin: float, end: float) -> Scale:
    """Return a logarithmic scale that holds all `values`, which are above 0, from one round value to another."""
    low, high = _round(min(values), up=False), _round(max(values), up=True)
    high = high if high > low else low * 10
    steps = STEPS[:3] if high / low <= MOST_DECADES_WITH_STEPS else STEPS[:1]
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    marks = [each * 10.0**power for power in powers for each in steps]
    ticks = [each for each in marks if low * 0.999 <= each <= high * 1.001]
    return Scale(low=low, high=high, begin=begin, end=end, ticks=ticks, logarithmic=True)


def _round(value: float, *, up: bool) -> float:
    """Return the next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** floor(log10(value))
    steps = [each * power for each in STEPS]
    if up:
        return next(each for each in steps if each >= value * 0.999)
    return next(each for each in steps[::-1] if each <= value * 1.001)


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return ascending places moved apart to `gap`, each group of neighbours around its own middle, from `low` to
    `high`.
    """
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _ends(groups[-2], gap, low, high)[1] + gap > _ends(groups[-1], gap, low, high)[0]:
            later = groups.pop()
            groups[-1] += later
    return [
        round(_ends(group, gap, low, high)[0] + number * gap, 1) for group in groups for number in range(len(group))
    ]


def _ends(group: Sequence[float], gap: float, low: float, high: float) -> tuple[float, float]:
    """Return the places of the first and of the last member of a group."""
    length = (len(group) - 1) * gap
    first = sum(group) / len(group) - length / 2
    first = min(max(first, low), high - length)
    return first, first + length
