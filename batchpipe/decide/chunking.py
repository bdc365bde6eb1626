"""Packing of requests into chunks: pure arithmetic over sizes. A chunk is what is sent as one batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

# Bytes of a batch's body around its requests, and bytes of a request around its params: both a little more than real.
ENVELOPE_BYTES = 16
REQUEST_OVERHEAD_BYTES = 80
# A part of a chunk has at least one in so many of its requests.
SMALLEST_PART = 20
# So many chunks are looked at that a budget has no room for. Then it is taken to have none for those behind them.
PASSED_AT_MOST = 100

# A function of (start, max_requests, max_bytes). It returns how many requests from `start` on are of one group and fit
# into one body (at least 1, however large the first request is), and the bytes of that body.
CountFitting = Callable[[int, int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkLimits:
    """The most requests and bytes of one chunk, and the most chunks that may be open at once.

    `differ`: open chunks have different sizes, since the provider keeps no label with a batch. `max_token_bytes` bounds
    the bytes that stand for tokens, of which a picture has fewer than it has bytes; None is no bound.
    """

    max_requests: int
    max_bytes: int
    max_in_flight: int
    differ: bool = True
    max_token_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A run of `count` requests of one group, from the place `start` in the order given."""

    start: int
    count: int
    bytes: int


def is_worth_sending(fitting: int, count: int) -> bool:
    """Return whether `fitting` of `count` requests are enough for a batch, where waiting would let all of them fit."""
    return fitting * SMALLEST_PART >= count


def free_size(count: int, taken: Collection[int]) -> int:
    """Return the largest size up to `count` that is not in `taken`, the sizes of open chunks. Size 1 may be shared.

    The provider keeps no label with a batch, so that its size tells to which open chunk it belongs.
    """
    while count > 1 and count in taken:
        count -= 1
    return count


def partition(fit: CountFitting, limits: ChunkLimits, *, total: int) -> Iterator[Chunk]:
    """Cut `total` requests, which are ordered by group, into chunks.

    No chunk passes a limit, except that a request larger than `max_bytes` is a chunk of its own. Where sizes differ, no
    two among any `max_in_flight` chunks in a row have the same size, except for chunks of one request; where chunks may
    be large, no two of all chunks have, unless they would become less than half as large by it.
    """
    spacious = limits.max_requests >= 10 * (total // limits.max_requests + 1)
    recent: list[int] = []
    start = 0
    while start < total:
        count, taken = fit(start, limits.max_requests, limits.max_bytes)
        free = free_size(count, recent) if limits.differ else count
        if 2 * free < count:  # few large requests: sizes would run out
            recent = recent[-max(limits.max_in_flight - 1, 1) :]
            free = free_size(count, recent)
        if free < count:
            count, taken = fit(start, free, limits.max_bytes)
        yield Chunk(start=start, count=count, bytes=taken)
        recent.append(count)
        if not spacious:
            recent = recent[-max(limits.max_in_flight - 1, 1) :]
        start += count


def body_bytes(count: int, params_bytes: int) -> int:
    """Return the bytes of a batch's body with `count` requests whose params take `params_bytes`."""
    return ENVELOPE_BYTES + params_bytes + count * REQUEST_OVERHEAD_BYTES


def subtract_ranges(ranges: Iterable[tuple[int, int]], taken: Collection[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Return `ranges` without the parts in `taken`. All are pairs (start, stop); each of `taken` lies in one range."""
    for start, stop in ranges:
        at = start
        for first, last in sorted(each for each in taken if start <= each[0] < stop):
            if first > at:
                yield at, first
            at = last
        if at < stop:
            yield at, stop


def count_rounds(chunks: Iterable[Chunk], max_in_flight: int, max_queued: int) -> int:
    """Return how many rounds of batches, one after the other, are needed to send `chunks`.

    A round is what the provider may hold at once: at most `max_in_flight` chunks with `max_queued` requests together. A
    chunk that does not fit whole is cut, unless that would send a few requests only.
    """
    rounds = in_flight = queued = 0
    for chunk in chunks:
        left = chunk.count
        while left:
            if not rounds or in_flight >= max_in_flight or (queued and not is_worth_sending(max_queued - queued, left)):
                rounds, in_flight, queued = rounds + 1, 0, 0
            sent = min(left, max_queued - queued)
            left, queued, in_flight = left - sent, queued + sent, in_flight + 1
    return rounds


def intersect_ranges(ranges: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what `ranges` and `others` have in common. A range goes from its first number to before its second."""
    kept = list(others)
    found = ((max(start, first), min(stop, last)) for start, stop in ranges for first, last in kept)
    return sorted((start, stop) for start, stop in found if start < stop)
