"""Packing requests into chunks, one chunk a batch: pure arithmetic over sizes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

# A batch carries about this much around its requests, and each request this much around its params.
ENVELOPE_BYTES = 16
REQUEST_OVERHEAD_BYTES = 80

# From (start, most requests, most bytes): how many requests from `start` on are of one group and fit one body, the
# first one in any case; and the bytes of that body.
Fit = Callable[[int, int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkLimits:
    """Requests and bytes of one chunk, and how many chunks are open at once."""

    max_requests: int
    max_bytes: int
    max_in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """`count` requests from `start` on in the order given, all of one group."""

    start: int
    count: int
    bytes: int


def free_size(count: int, taken: Collection[int]) -> int:
    """The largest size up to `count` that no open chunk has; a single request may share its size.

    A batch carries no label, so that its size is what tells one open chunk from another.
    """
    while count > 1 and count in taken:
        count -= 1
    return count


def partition(fit: Fit, limits: ChunkLimits, *, total: int) -> Iterator[Chunk]:
    """Chunks over `total` requests that `fit` knows, groups contiguous.

    No chunk passes a limit, except that a request larger than `max_bytes` travels alone. No two chunks among
    `max_in_flight` neighbours share a size, single requests aside; where chunks may be large, no two at all do.
    """
    spacious = limits.max_requests >= 10 * (total // limits.max_requests + 1)
    recent: list[int] = []
    start = 0
    while start < total:
        count, taken = fit(start, limits.max_requests, limits.max_bytes)
        free = free_size(count, recent)
        if free < count:
            count, taken = fit(start, free, limits.max_bytes)
        yield Chunk(start=start, count=count, bytes=taken)
        recent.append(count)
        if not spacious:
            recent = recent[-max(limits.max_in_flight - 1, 1) :]
        start += count


def body_bytes(count: int, params_bytes: int) -> int:
    """The size of a batch's body with `count` requests whose params take `params_bytes`."""
    return ENVELOPE_BYTES + params_bytes + count * REQUEST_OVERHEAD_BYTES


def subtract_ranges(ranges: Iterable[tuple[int, int]], taken: Collection[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is left of `ranges` without `taken`: pairs of start and stop, each of `taken` within one of `ranges`."""
    for start, stop in ranges:
        at = start
        for first, last in sorted(each for each in taken if start <= each[0] < stop):
            if first > at:
                yield at, first
            at = last
        if at < stop:
            yield at, stop


def count_rounds(chunks: Iterable[Chunk], max_in_flight: int, max_queued: int) -> int:
    """How many rounds of batches, one after the other, `chunks` need.

    A round is what may be at the provider at once: `max_in_flight` chunks with `max_queued` requests in all, the
    last of them cut to fit.
    """
    rounds = in_flight = queued = 0
    for chunk in chunks:
        left = chunk.count
        while left:
            if not rounds or in_flight >= max_in_flight or queued >= max_queued:
                rounds, in_flight, queued = rounds + 1, 0, 0
            sent = min(left, max_queued - queued)
            left, queued, in_flight = left - sent, queued + sent, in_flight + 1
    return rounds
