"""Find the chunks in raw folders that the ledger does not know, and tell whose they are.

The raw folder is a log: a restored or a lost database knows less than its raw folder. A chunk is ours where its JSON
file names this database, or a file that was at this database's path, or a file that is there no more. A chunk of
another database that is still there belongs to that database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batchpipe.engine.ledger.raw_folder import RawFolder
from batchpipe.engine.ledger.saved_chunk import ChunkHead, SavedChunk
from batchpipe.pipeline.evaluations import evaluated_pipeline
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

EMULATED = "emulator"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownChunk:
    """A chunk that the ledger does not know, and the raw folder that it lies in."""

    saved: SavedChunk
    folder: RawFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownChunks:
    """The chunks of one pipeline that the ledger does not know, in the order in which they were prepared.

    `others` are of another database that is still there. `damaged` are the ids of chunks that cannot be read and that
    no person has given up.
    `holds`: the ledger has requests of the pipeline. `answer` is what a person once said about `others`. `elsewhere`
    names other pipelines whose chunks are of this database, and unknown to it as well. `given_up` are the ids of chunks
    that a person gave up because they could not be read.
    """

    ours: Sequence[UnknownChunk] = ()
    others: Sequence[UnknownChunk] = ()
    damaged: Sequence[str] = ()
    holds: bool = True
    answer: str | None = None
    elsewhere: frozenset[str] = frozenset()
    given_up: frozenset[str] = frozenset()

    @property
    def asks(self) -> bool:
        """Return whether a person has to say once what becomes of another database's chunks."""
        return bool(self.others) and not self.ours and not self.holds and self.answer is None

    @property
    def requests(self) -> int:
        """Return the number of requests in the chunks that a run takes in by itself."""
        return sum(each.saved.requests for each in self.ours)


NOTHING_UNKNOWN = UnknownChunks()


@dataclass(frozen=True, slots=True, kw_only=True)
class RawLog:
    """The raw folders of a project as one database reads them: its own first, then those of other folders.

    `path` is the database file. `emulated`: it is the emulator's, whose chunks never mix with those of a provider.
    """

    path: Path
    folders: Sequence[RawFolder]
    emulated: bool

    def unknown(self, session: Session, names: Sequence[str]) -> UnknownChunks:
        """Return the chunks of the pipelines called `names` and of their evaluations that the ledger does not know.

        Where all chunks are known, that takes a listing of the folders and one statement.
        Reads `ledger.events`; where a chunk is unknown, `ledger.requests` and `ledger.meta` too.
        """
        folder_of = {chunk_id: each for each in reversed(self.folders) for chunk_id in each.chunk_ids()}
        if not folder_of:
            return NOTHING_UNKNOWN
        unknown = session.rows(query("unknown_chunk_ids"), {"chunk_ids": list(folder_of)})
        found = [(folder_of[chunk_id], chunk_id) for (chunk_id,) in unknown]
        return self._sorted(session, names, found) if found else NOTHING_UNKNOWN

    def _sorted(self, session: Session, names: Sequence[str], found: Sequence[tuple[RawFolder, str]]) -> UnknownChunks:
        """Sort the unknown chunks by whose they are. Other pipelines' chunks are left to these."""
        families = {evaluated_pipeline(each) for each in names}
        holds, own, answer = session.one(query("holds_pipeline", families=quote_list(sorted(families))))
        given_up = frozenset(chunk_id for (chunk_id,) in session.rows(query("unreadable_chunks_left")))
        ours: list[UnknownChunk] = []
        others: list[UnknownChunk] = []
        damaged: list[str] = []
        elsewhere: set[str] = set()
        for folder, chunk_id in found:
            head = folder.head(chunk_id)
            if head is not None and evaluated_pipeline(head.pipeline) not in families:
                elsewhere |= {evaluated_pipeline(head.pipeline)} if self._is_ours(head, folder, own) else set()
                continue
            mine = head is None or self._is_ours(head, folder, own)
            if head is not None and not mine and holds and answer is None:
                continue  # most chunks of another database are left alone: their prompts are not read
            saved = folder.saved_chunk(chunk_id)
            if saved is not None and _is_emulated(saved) != self.emulated:
                continue
            if saved is None or not folder.has_requests(chunk_id):
                damaged += [chunk_id] if mine and chunk_id not in given_up else []
            elif chunk_id not in given_up or not folder.has_broken_results(chunk_id):
                (ours if mine else others).append(UnknownChunk(saved=saved, folder=folder))
        return UnknownChunks(
            ours=sorted(ours, key=_prepared),
            others=sorted(others, key=_prepared),
            damaged=damaged,
            holds=holds,
            answer=answer,
            elsewhere=frozenset(elsewhere),
            given_up=given_up,
        )

    def _is_ours(self, head: ChunkHead, folder: RawFolder, own: str) -> bool:
        """Return whether a chunk belongs to this database, or to a file that was at its path or is there no more."""
        if head.database == own:
            return True
        origin = folder.path.parent.parent / head.file
        return origin == self.path or not origin.exists()


def _is_emulated(saved: SavedChunk) -> bool:
    """Return whether the chunk was sent to the built-in emulator."""
    return saved.notes[0].data.get("base_url") == EMULATED


def _prepared(chunk: UnknownChunk) -> tuple[object, str]:
    """Return the place of a chunk in the order in which chunks were prepared."""
    return chunk.saved.notes[0].recorded_at, chunk.saved.chunk_id
