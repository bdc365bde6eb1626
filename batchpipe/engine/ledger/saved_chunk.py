"""The JSON file of a chunk: whose chunk it is, its prompt version, its policy and its events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from batchpipe.decide.fingerprint import of_number
from batchpipe.engine.ledger.seals import without_sum

# Hashes in the file of a chunk, which schema version 1 wrote as decimal numbers.
HASHES_OF_CHUNK = (
    "prompt_version",
    "prompt_hash",
    "schema_hash",
    "visible_hash",
    "policy_hash",
    "judge_hash",
    "cache_prefix",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """An event of a chunk, as the ledger has it. `recorded_at` is naive UTC."""

    kind: str
    data: Mapping[str, Any]
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedChunk:
    """The content of a chunk's JSON file: the chunk's owner, its prompt version, its policy and its events.

    `database` is the id that the database got when it was made, `file` the name of its file. `links` are the links of
    renames, as (pipeline, older name), that connect its pipeline with others. `version` and `policy` are rows of the
    ledger. `requests_sum` is the checksum of the file of its requests; "" in files of before.
    """

    chunk_id: str
    pipeline: str
    run_id: str
    database: str
    file: str
    links: Sequence[tuple[str, str]] = ()
    version: Mapping[str, Any]
    policy: Mapping[str, Any]
    notes: Sequence[Note] = ()
    requests_sum: str = ""

    @property
    def requests(self) -> int:
        """Return the number of the chunk's requests."""
        return int(self.notes[0].data.get("requests") or 0)

    def data_of(self, *kinds: str) -> Mapping[str, Any] | None:
        """Return the data of the newest event of one of `kinds`; None where there is no such event."""
        return next((note.data for note in reversed(self.notes) if note.kind in kinds), None)

    def time_of(self, *kinds: str) -> datetime | None:
        """Return when the newest event of one of `kinds` was recorded; None where there is no such event."""
        return next((note.recorded_at for note in reversed(self.notes) if note.kind in kinds), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkHead:
    """The first part of a chunk's JSON file: whose chunk it is. `file` is the name of the database's file, `links` are
    those of `SavedChunk`.
    """

    chunk_id: str
    pipeline: str
    run_id: str
    database: str
    file: str
    links: Sequence[Sequence[str]] = ()

    def is_of(self, chunk_id: str) -> bool:
        """Return whether it is the head of the chunk `chunk_id`, with a text for each part."""
        texts = [self.chunk_id, self.pipeline, self.run_id, self.database, self.file]
        texts += [each for name, older in self.links for each in (name, older)]
        return all(isinstance(each, str) for each in texts) and self.chunk_id.lower() == chunk_id.lower()


def read_chunk(path: Path, chunk_id: str) -> SavedChunk | None:
    """Return the content of the JSON file of a chunk; None for a file that is missing, that is no such file, or that is
    of another chunk.
    """
    try:
        found = json.loads(without_sum(path.read_text(encoding="utf-8")))
        notes = [
            Note(
                kind=each["kind"],
                data=_with_identities(each["data"]),
                recorded_at=datetime.fromisoformat(each["recorded_at"]).replace(tzinfo=None),
            )
            for each in found["notes"]
        ]
        rows = {name: _with_identities(found[name]) for name in ("version", "policy")}
        links = tuple((name, older) for name, older in found.get("links", ()))
        saved = SavedChunk(**{**found, **rows, "links": links, "notes": tuple(notes)})
        head = ChunkHead(**{each.name: getattr(saved, each.name) for each in fields(ChunkHead)})
        return saved if notes and head.is_of(chunk_id) and saved.requests >= 0 else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _with_identities(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return `data` with its hashes as identities, which schema version 1 wrote as decimal numbers."""
    return {
        name: of_number(value) if name in HASHES_OF_CHUNK and str(value).isdecimal() else value
        for name, value in data.items()
    }
