"""How much memory DuckDB may take for a working database: more where texts are long, as many are read at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import number_sql, quote_list, sql
from batchpipe.store.queries import query

MEMORY_BYTES = 300_000_000
# Copies that a statement holds of a row group of the input, of an answer, of an answer's JSON for each field that it
# reads out of it, and of the texts of stored requests.
COPIES_OF_GROUP = 4
COPIES_OF_HASHED = 16  # JSON is written to room for six times a text, which is doubled as it grows
COPIES_OF_ANSWER = 4
COPIES_FOR_FIELD = 6
COPIES_OF_REQUEST = 3  # DuckDB unpacks them into room whose size is a power of two
LEAST_ROWS = 64  # DuckDB joins smaller vectors
TOKEN_BYTES = 8  # more than a token of JSON has, as a rule
VECTOR_ROWS = 2_048  # the rows that DuckDB works on at once


@dataclass(slots=True, kw_only=True)
class Memory:
    """The limit of memory of a connection; what is above it is spilled to disk.

    `limit_bytes` is the limit that is set. Statements that read fields out of answers run once for each of `parts`,
    which have different keys. `seen_seq` is the commit up to which `request_bytes` counts stored requests.
    """

    connection: Connection
    limit_bytes: int = 0
    seen_seq: int = 0
    request_bytes: int = 0
    parts: int = field(default=1, init=False)
    _input_bytes: int = field(default=0, init=False)
    _answer_bytes: int = field(default=0, init=False)

    def make_room_for_input(self, group_bytes: int, vector_bytes: int = 0) -> None:
        """Raise the limit for statements on an input: its largest row group has `group_bytes`, and as many rows as are
        worked on at once `vector_bytes`. Several copies are held.
        """
        needed = max(COPIES_OF_GROUP * group_bytes, COPIES_OF_HASHED * vector_bytes)
        self._input_bytes = max(self._input_bytes, needed)
        self.limit()

    def make_room_for_answers(self, vector_bytes: int, fields: int = 0, longest_bytes: int = 0) -> None:
        """Raise the limit for statements on answers whose longest `VECTOR_ROWS` have `vector_bytes` together.

        Answers may take half of the default limit. If reading `fields` out of them takes more, it is done in parts; one
        holds at least the longest answer, whose copies may take memory of twice their size.
        """
        reserved_bytes, of_all = MEMORY_BYTES // 2, COPIES_FOR_FIELD * fields * vector_bytes
        parts = min(max(self.parts, -(-of_all // reserved_bytes)), VECTOR_ROWS // LEAST_ROWS)
        needed = COPIES_OF_ANSWER * vector_bytes + max(of_all // parts, 2 * COPIES_FOR_FIELD * fields * longest_bytes)
        self.parts, self._answer_bytes = parts, max(self._answer_bytes, needed - reserved_bytes)
        self.limit()

    def make_room_for_requests(self, seq: int, longest_bytes: int) -> None:
        """Raise the limit for statements on stored requests, up to half of the machine's memory.

        Whoever reads one of them unpacks as many as lie beside it. `longest_bytes` are those of the longest request
        that was stored after `seen_seq` and up to `seq`. Reads `ledger.requests`.
        """
        self.seen_seq = seq
        if COPIES_OF_REQUEST * VECTOR_ROWS * longest_bytes <= MEMORY_BYTES // 2:
            return
        counted = self.connection.execute(query("longest_requests", rows=number_sql(VECTOR_ROWS))).fetchone()
        half_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        self.request_bytes = min(COPIES_OF_REQUEST * int(counted[0] if counted else 0), half_bytes)
        self.limit()

    def make_room_for_rows(self, pipelines: Sequence[str]) -> None:
        """Raise the limit for statements on rows of the output, which have texts of the answers and of the input.

        Reads `ledger.results`, `ledger.requests`.
        """
        numbers = {"rows": number_sql(VECTOR_ROWS), "token_bytes": number_sql(TOKEN_BYTES)}
        found = self.connection.execute(query("longest_rows", pipelines=quote_list(pipelines), **numbers)).fetchone()
        self._input_bytes = max(self._input_bytes, COPIES_OF_HASHED * int(found[0] if found else 0))
        self.limit()

    def limit(self, times: int = 1) -> None:
        """Set the limit, for so many threads as `times` says."""
        limit = times * (MEMORY_BYTES + self._input_bytes + self._answer_bytes + self.request_bytes)
        if limit != self.limit_bytes:
            limit_memory(self.connection, limit)
            self.limit_bytes = limit


def limit_memory(connection: Connection, limit_bytes: int) -> None:
    """Limit the memory of DuckDB to `limit_bytes`; what is above is spilled to disk."""
    connection.execute(sql("SET memory_limit = '{megabytes}MB'", megabytes=number_sql(limit_bytes // 1_000_000)))
