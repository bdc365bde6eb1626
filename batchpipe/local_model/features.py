"""Features of texts: words, pairs of words and pieces of words, counted with numpy and weighed by TF-IDF.

A text is an array of characters. The hash of each piece comes from one running polynomial over the whole array, so
that no piece is ever made as a Python string: 100,000 short texts take a few seconds. Two pieces of one hash count as
one feature (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", arXiv:0902.2206).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.local_model.library import numpy, sparse

BITS = 20  # 2 ** BITS hashes are told apart
MOST_FEATURES = 30_000
FEWEST_ROWS = 2  # a feature of fewer rows is left out
LONGEST_TEXT = 4_000  # characters of a text that are read
SHORT_TEXTS = 400  # pieces of words are read where texts have at most so many characters on average
BLOCK_CHARACTERS = 2_000_000
PIECES = (3, 4, 5)
BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2 ** 64
SPREAD = 0xD6E8FEB86659FD93
WHOLE = 2**64


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Which hashes are features: `table` has the feature's number for each hash, -1 for none; `idf` its weight.

    `pieces`: whether pieces of words are read, beside words.
    """

    table: Any
    idf: Any
    pieces: bool


def learn_features(texts: Sequence[str]) -> tuple[Features, Any]:
    """Return the features of these texts, and the matrix of the texts: a row for each, of length 1 by words and by
    pieces.
    """
    np = numpy()
    pieces = sum(min(len(text), LONGEST_TEXT) for text in texts) <= SHORT_TEXTS * max(len(texts), 1)
    blocks = [_counts(block, pieces) for block in _blocks(texts)]
    in_rows = np.zeros(2**BITS, dtype=np.int64)
    for block in blocks:
        in_rows += np.bincount(block.indices, minlength=2**BITS)
    often = np.flatnonzero(in_rows >= (FEWEST_ROWS if len(texts) > 100 else 1))
    # The most frequent features first, and among equals the smaller hash.
    often = np.sort(often[np.argsort(-in_rows[often], kind="stable")[:MOST_FEATURES]])
    table = np.full(2**BITS, -1, dtype=np.int32)
    table[often] = np.arange(len(often), dtype=np.int32)
    idf = (np.log((1 + len(texts)) / (1 + in_rows[often])) + 1).astype(np.float32)
    features = Features(table=table, idf=idf, pieces=pieces)
    return features, sparse().vstack([_weighed(block, features) for block in blocks], format="csr")


def matrices(texts: Sequence[str], features: Features) -> Any:
    """Yield the matrix of the texts in blocks, in their order."""
    for block in _blocks(texts):
        yield _weighed(_counts(block, features.pieces), features)


def _blocks(texts: Sequence[str]) -> Any:
    """Yield the texts in blocks of about `BLOCK_CHARACTERS`; at least one block."""
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text[:LONGEST_TEXT].lower()[:LONGEST_TEXT])
        size += len(block[-1]) + 2
        if size > BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block or not texts:
        yield block


def _counts(texts: Sequence[str], pieces: bool) -> Any:
    """Return how often each hash occurs in each text, as a sparse matrix with 2 ** BITS columns.

    The columns of words and those of pieces are told apart by their highest bit.
    """
    np = numpy()
    # A space before, between and after the texts: no word or piece reaches into the next text.
    codes = np.frombuffer(f" {' '.join(texts)} ".encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    lengths = np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))
    row_of = np.repeat(np.arange(len(texts) + 1), [*(lengths + 1), 1])
    known, place = np.unique(codes, return_inverse=True)
    in_word = np.array([chr(int(code)).isalnum() for code in known], dtype=bool)[place]
    powers, prefix = _prefixes(codes)
    edges = np.diff(in_word.astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1) + 1, np.flatnonzero(edges == -1) + 1
    words = _hashes(prefix, powers, starts, ends)
    follows = np.flatnonzero(row_of[starts[1:]] == row_of[starts[:-1]])
    pairs = words[follows] * np.uint64(SPREAD) + words[follows + 1] if len(words) else words
    rows, columns = [row_of[starts], row_of[starts[follows]]], [_columns(words, 0), _columns(pairs, 0)]
    if pieces:
        first, last = starts - 1, ends + 1  # with the character before and after the word
        for size in PIECES:
            many = np.maximum(last - first - size + 1, 0)
            begin = np.repeat(first - np.concatenate([[0], np.cumsum(many)[:-1]]), many) + np.arange(many.sum())
            rows.append(np.repeat(row_of[starts], many))
            columns.append(_columns(_hashes(prefix, powers, begin, begin + size), 1))
    where, which = np.concatenate(rows), np.concatenate(columns)
    ones = np.ones(len(where), dtype=np.float32)
    found = sparse().csr_matrix((ones, (where, which)), shape=(len(texts), 2**BITS))
    found.sum_duplicates()
    return found


def _prefixes(codes: Any) -> tuple[Any, Any]:
    """Return the powers of `BASE`, and the sums of code * power before each place, modulo 2 ** 64."""
    np = numpy()
    powers = np.full(len(codes) + 1, BASE, dtype=np.uint64)
    powers[0] = 1
    powers = np.cumprod(powers, dtype=np.uint64)
    sums = np.cumsum((codes.astype(np.uint64) + np.uint64(1)) * powers[:-1], dtype=np.uint64)
    return powers, np.concatenate([np.zeros(1, dtype=np.uint64), sums])


def _hashes(prefix: Any, powers: Any, starts: Any, ends: Any) -> Any:
    """Return a hash for each span, the same wherever the span stands: every sum is brought to one common power."""
    return (prefix[ends] - prefix[starts]) * powers[len(powers) - 1 - starts] * _back(len(powers) - 1)


def _back(power: int) -> Any:
    return numpy().uint64(pow(BASE, -power, WHOLE))


def _columns(hashes: Any, kind: int) -> Any:
    """Return the column for each hash: its highest bits, after the kind of the feature."""
    np = numpy()
    mixed = (hashes ^ (hashes >> np.uint64(32))) * np.uint64(SPREAD)
    return (mixed >> np.uint64(65 - BITS)).astype(np.int64) + kind * 2 ** (BITS - 1)


def _weighed(counts: Any, features: Features) -> Any:
    """Return the features of counted texts: (1 + log count) * idf, words and pieces each brought to length 1."""
    np = numpy()
    column = features.table[counts.indices]
    kept = column >= 0
    row = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))[kept]
    piece = (counts.indices[kept] >= 2 ** (BITS - 1)).astype(np.int64)
    value = (1 + np.log(counts.data[kept])) * features.idf[column[kept]]
    group = 2 * row + piece
    length = np.sqrt(np.bincount(group, weights=value.astype(np.float64) ** 2, minlength=2 * counts.shape[0]))
    value = (value / length[group]).astype(np.float32)
    ends = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=counts.shape[0]))])
    return sparse().csr_matrix((value, column[kept], ends), shape=(counts.shape[0], len(features.idf)))
