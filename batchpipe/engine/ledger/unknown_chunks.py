"""Find the chunks in raw folders that the ledger does not know, and tell whose they are.

The raw folder is a log: a restored or a lost database knows less than its raw folder. A chunk is ours where its JSON
file names this database, or a file that was at this database's path, or a file that is there no more. A chunk of
another database that is still there belongs to that database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from batchpipe.engine.ledger.events import batches_of_families, open_calls
from batchpipe.engine.ledger.lost_results import answers_are_lost, are_broken
from batchpipe.engine.ledger.raw_folder import RawFolder
from batchpipe.engine.ledger.renames import earlier_names
from batchpipe.engine.ledger.saved_chunk import ChunkHead, SavedChunk
from batchpipe.pipeline.evaluations import evaluated_pipeline
from batchpipe.pipeline.sending import LOCAL
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

EMULATED = "emulator"
NOBODY = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownChunk:
    """A chunk that the ledger does not know, and the raw folder that it lies in."""

    saved: SavedChunk
    folder: RawFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownChunks:
    """The chunks of one pipeline that the ledger does not know, in the order in which they were prepared.

    `others` are of another database that is still there. `unread` are the ids of chunks whose JSON file or requests
    cannot be read, and that no person has given up. `lost` are chunks of this database whose answers cannot be read and
    can be had nowhere else; `lost_open` are the ids of such chunks that the ledger knows, and waits for.
    `holds`: the ledger has requests of the pipeline. `answer` is what a person once said about `others`. `elsewhere`
    names other pipelines whose chunks are of this database, and unknown to it as well. `given_up` are the ids of chunks
    that a person gave up because they could not be read.
    """

    ours: Sequence[UnknownChunk] = ()
    others: Sequence[UnknownChunk] = ()
    unread: Sequence[str] = ()
    lost: Sequence[UnknownChunk] = ()
    lost_open: Sequence[str] = ()
    holds: bool = True
    answer: str | None = None
    elsewhere: frozenset[str] = frozenset()
    given_up: frozenset[str] = frozenset()

    @property
    def asks(self) -> bool:
        """Return whether a person has to say once what becomes of another database's chunks."""
        return bool(self.others) and not self.holds and self.answer is None

    @property
    def damaged(self) -> list[str]:
        """Return the ids of the chunks that stop a run, since what was paid for cannot be read."""
        return [*self.unread, *(each.saved.chunk_id for each in self.lost), *self.lost_open]

    @property
    def requests(self) -> int:
        """Return the number of requests in the chunks that a run takes in by itself."""
        return sum(each.saved.requests for each in self.ours)


NOTHING_UNKNOWN = UnknownChunks()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The chunks in the raw folders that the ledger does not know, of all pipelines. `empty`: there are no chunks."""

    unknown: Sequence[tuple[RawFolder, str]] = ()
    empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RawLog:
    """The raw folders of a project as one database reads them: its own first, then those of other folders.

    `path` is the database file. `emulated`: it is the emulator's, whose chunks never mix with those of a provider.
    `listing`: the folders were listed already.
    """

    path: Path
    folders: Sequence[RawFolder]
    emulated: bool
    listing: Listing | None = None

    def listed(self, session: Session) -> RawLog:
        """Return this log with its folders listed, for a look at several pipelines in one session."""
        return replace(self, listing=self._list(session))

    def _list(self, session: Session) -> Listing:
        folder_of = {chunk_id: each for each in reversed(self.folders) for chunk_id in each.chunk_ids()}
        if not folder_of:
            return Listing(empty=True)
        unknown = session.rows(query("unknown_chunk_ids"), {"chunk_ids": list(folder_of)})
        return Listing(unknown=[(folder_of[chunk_id], chunk_id) for (chunk_id,) in unknown])

    def unknown(self, session: Session, names: Sequence[str]) -> UnknownChunks:
        """Return the chunks of the pipelines called `names` and of their evaluations that the ledger does not know, and
        those that it waits for although their answers are lost.

        Where all chunks are known, that takes a listing of the folders and one statement.
        Reads `ledger.events`; where a chunk is open, `ledger.batches`; where one is unknown, `ledger.requests` and
        `ledger.meta` too.
        """
        listing = self.listing or self._list(session)
        if listing.empty:
            return NOTHING_UNKNOWN
        found = listing.unknown
        lost_open = self._lost_open(session, names)
        if not found and not lost_open:
            return NOTHING_UNKNOWN
        given_up = frozenset(chunk_id for (chunk_id,) in session.rows(query("unreadable_chunks_left")))
        sorted_ones = self._sorted(session, names, found, given_up) if found else NOTHING_UNKNOWN
        return replace(sorted_ones, lost_open=[each for each in lost_open if each not in given_up])

    def _lost_open(self, session: Session, names: Sequence[str]) -> list[str]:
        """Return the ids of open chunks and calls whose answers are lost: a backup knows them as open.

        Reads `ledger.batches`, `ledger.events`.
        """
        batches = [each for each in batches_of_families(session, names) if each.batch_id is None]
        asked = [each.chunk_id for each in batches if each.provider != LOCAL]
        asked += [each.chunk_id for each in open_calls(session, names)]
        own = self.folders[0]
        return [each for each in asked if answers_are_lost(own, each, own.saved_chunk(each))]

    def _sorted(
        self,
        session: Session,
        names: Sequence[str],
        found: Sequence[tuple[RawFolder, str]],
        given_up: frozenset[str],
    ) -> UnknownChunks:
        """Sort the unknown chunks by whose they are. Other pipelines' chunks are left to these."""
        heads = {chunk_id: folder.head(chunk_id) for folder, chunk_id in found}
        links = {(name, older) for head in heads.values() if head is not None for name, older in head.links}
        # The ledger may have lost the links of renames too, which a chunk keeps of its pipeline.
        families = {evaluated_pipeline(each) for each in earlier_names(names, links)}
        holds, own, answer = session.one(query("holds_pipeline", families=quote_list(sorted(families))))
        ours: list[UnknownChunk] = []
        others: list[UnknownChunk] = []
        lost: list[UnknownChunk] = []
        unread: list[str] = []
        elsewhere: set[str] = set()
        for folder, chunk_id in found:
            head = heads[chunk_id]
            owner = _asked_by(session, folder, chunk_id) if head is None else evaluated_pipeline(head.pipeline)
            if owner == NOBODY:
                continue
            mine = head is None or self._is_ours(head, folder, own)
            if owner is not None and owner not in families:
                elsewhere |= {owner} if mine else set()
                continue
            if not mine and holds and answer is None:
                continue  # most chunks of another database are left alone: their prompts are not read
            saved = folder.saved_chunk(chunk_id)
            if saved is not None and _is_emulated(saved) != self.emulated:
                continue
            if saved is None or not folder.has_requests(saved):
                unread += [chunk_id] if mine and chunk_id not in given_up else []
            elif chunk_id not in given_up or not are_broken(folder, chunk_id):
                sort = lost if mine and answers_are_lost(folder, chunk_id, saved) else ours if mine else others
                sort.append(UnknownChunk(saved=saved, folder=folder))
        return UnknownChunks(
            ours=sorted(ours, key=prepared),
            others=sorted(others, key=prepared),
            unread=unread,
            lost=sorted(lost, key=prepared),
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
        return origin.resolve() == self.path.resolve() or not origin.exists()


def _asked_by(session: Session, folder: RawFolder, chunk_id: str) -> str | None:
    """Return the pipeline of a chunk whose JSON file is lost, by its requests; None where these cannot be read either.

    What the local model has answered costs nothing, and is left alone: it is nobody's.
    """
    try:
        pipeline, provider = session.one(query("owner_of_requests"), {"path": str(folder.requests(chunk_id))})
    except duckdb.Error:
        return None
    if pipeline is None:
        return None
    return NOBODY if provider == LOCAL else evaluated_pipeline(str(pipeline))


def _is_emulated(saved: SavedChunk) -> bool:
    """Return whether the chunk was sent to the built-in emulator."""
    return saved.notes[0].data.get("base_url") == EMULATED


def prepared(chunk: UnknownChunk) -> tuple[object, str]:
    """Return the place of a chunk in the order in which chunks were prepared."""
    return chunk.saved.notes[0].recorded_at, chunk.saved.chunk_id
