"""Take in the chunks that lie in the raw folders and that the ledger does not know: their requests and their events.

It needs neither the input nor the provider, so that a run does it before anything else. The results of these chunks are
recorded when the pipeline is resolved; see `rebuild.py`. What was in flight is found by its intent, and polled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import duckdb

from batchpipe.common.errors import GateError
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.events import OpenBatch, add_event
from batchpipe.engine.ledger.lost_results import (
    answers_are_lost,
    are_broken,
    has_batch,
    keep_readable,
    set_damaged_aside,
    was_answered_here,
)
from batchpipe.engine.ledger.raw_folder import RawFolder, raw_folder_of, restore_requests
from batchpipe.engine.ledger.renames import record_links
from batchpipe.engine.ledger.saved_chunk import Note, SavedChunk
from batchpipe.engine.ledger.unknown_chunks import RawLog, UnknownChunk, UnknownChunks, prepared
from batchpipe.pipeline.sending import LOCAL
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session, Work
from batchpipe.store.disk import why_unreadable
from batchpipe.store.queries import query

SUBMITTED = ("chunk_submitted", "chunk_adopted")
# Of rows that were kept before recipes were recorded.
OLDEST_RECIPE = 1
NOT_IN_RAW = "Orders, approvals, pauses and reviews are not in the raw files: give them again where they still matter."


@dataclass(slots=True, kw_only=True)
class TakenIn:
    """Says what was taken in: `chunks` of the ledger anew, with so many `requests`.

    `others` counts chunks of other databases that were left alone; `damaged` are chunks whose requests or answers
    cannot be read, and may have been paid for. `fetched_again` are chunks whose saved results cannot be read, but are
    looked for at the provider again. `new`: the ledger knew nothing of the pipeline before.
    """

    chunks: int = 0
    requests: int = 0
    others: int = 0
    damaged: list[str] = field(default_factory=list)
    fetched_again: list[str] = field(default_factory=list)
    new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RawReplay:
    """Takes in the chunks of the pipelines called `names` and of their evaluations.

    Who calls `take_in` holds the pipeline's lock.
    """

    context: Context
    work: Work
    names: Sequence[str]

    @property
    def raw_folder(self) -> RawFolder:
        """Return the raw folder of the database, which is made where it is missing."""
        return raw_folder_of(self.context.database)

    @property
    def log(self) -> RawLog:
        """Return the raw folders that chunks may lie in."""
        return raw_log(self.context)

    def unknown(self, session: Session) -> UnknownChunks:
        """Return the chunks that the ledger does not know. Reads the ledger."""
        return self.log.unknown(session, self.names)

    def take_in(self, found: UnknownChunks, *, asked: bool | None = False) -> TakenIn:
        """Record the requests and the events of the unknown chunks; of another database's only where that is `asked`.

        With `asked` None another database's chunks stay where they are.
        Writes the ledger, the raw folder. Raises GateError where a person has to say once what becomes of another
        database's chunks.
        """
        taken = TakenIn(damaged=list(found.damaged), new=not found.holds)
        of_others = bool(asked) and (not found.holds or found.answer == "raw_taken")
        if found.asks and asked is False:
            raise other_database(self.names[0], found)
        chunks = sorted([*found.ours, *(found.others if of_others else ())], key=prepared)
        taken.others = 0 if of_others else len(found.others)
        if of_others:
            self._answer("raw_taken", found)
        newest = {each.saved.chunk_id: self._newest_commit(each) for each in chunks}
        unread = [chunk_id for chunk_id, commit in newest.items() if commit is None]
        taken.damaged += [chunk_id for chunk_id in unread if chunk_id not in found.given_up]
        readable = [each for each in chunks if newest[each.saved.chunk_id] is not None and _can_be_taken(each, taken)]
        if readable:
            self._raise_commit(max(commit for commit in newest.values() if commit is not None))
        for each in readable:
            self._take(each, taken)
        return taken

    def leave(self, found: UnknownChunks) -> int:
        """Record that another database's chunks are to be left alone; return how many there are now.

        Writes `ledger.events`.
        """
        if found.others:
            self._answer("raw_left", found)
        return len(found.others)

    def give_up_unreadable(self, found: UnknownChunks) -> list[str]:
        """Record that chunks which cannot be read stop no run any more; return their ids.

        Of answers what can be read is kept: the next run records it, and books the rest at the most that it can have
        cost. Where a person has to say first what becomes of another database's chunks, nothing is given up.
        Writes the ledger, the raw folder.
        """
        unread = [each.saved.chunk_id for each in found.ours if self._newest_commit(each) is None]
        lost = [*found.damaged, *unread]
        if found.asks or not lost:
            return []
        for chunk_id in found.lost_open:
            keep_readable(self.raw_folder, chunk_id)
        self.take_in_lost(found, gives_up=True)
        with self.context.database.writing(self.work, None) as session:
            add_event(session, self.names[0], "unreadable_left", {"chunk_ids": lost})
        return lost

    def take_in_lost(self, found: UnknownChunks, *, gives_up: bool = False) -> set[str]:
        """Record the chunks whose answers cannot be read, as far as their requests can be; return their ids.

        With `gives_up` their answers are booked as gone. Else the ledger waits for the answers: it
        knows which prompt and which rows were paid for.
        Writes the ledger, the raw folder.
        """
        readable = [(each, commit) for each in found.lost if (commit := self._newest_commit(each)) is not None]
        if readable:
            self._raise_commit(max(commit for _, commit in readable))
        for each, _ in readable:
            self._take(each, TakenIn(), gives_up=gives_up)
        return {each.saved.chunk_id for each, _ in readable}

    def late_notes(self, batches: Sequence[OpenBatch]) -> bool:
        """Record what the raw folder knows of open chunks and the ledger does not: a backup may be older than it.

        Saved results that cannot be read are set aside: the provider is asked for them again, or the local model, at no
        cost. Return whether anything was recorded.
        Writes `ledger.events`.
        """
        recorded = False
        for each in batches:
            if (each.batch_id is not None or each.provider == LOCAL) and are_broken(self.raw_folder, each.chunk_id):
                if each.provider != LOCAL:
                    self.context.say(fetched_again_text(each.chunk_id))
                set_damaged_aside(self.raw_folder, each.chunk_id)
            if each.state == "in_flight" and self.raw_folder.results(each.chunk_id) is None:
                continue
            saved = self.raw_folder.saved_chunk(each.chunk_id)
            if saved is not None:
                recorded = self._restore(saved, None) or recorded
        return recorded

    def _answer(self, kind: str, found: UnknownChunks) -> None:
        """Record what a person said about another database's chunks. Writes `ledger.events`."""
        databases = sorted({each.saved.database for each in found.others})
        with self.context.database.writing(self.work, None) as session:
            add_event(session, self.names[0], kind, {"databases": databases, "chunks": len(found.others)})

    def _newest_commit(self, chunk: UnknownChunk) -> int | None:
        """Return the newest commit that the kept requests of a chunk name; None for a file that cannot be read, or has
        the requests of another chunk.
        """
        chunk_id = chunk.saved.chunk_id
        given = {"path": str(chunk.folder.requests(chunk_id)), "chunk_id": chunk_id}
        try:
            found = self.work.connection.execute(query("newest_commit_of_requests"), given).fetchone()
        except duckdb.Error:
            return None
        return int(found[0]) if found is not None and found[2] else None

    def _raise_commit(self, newest: int) -> None:
        """Raise the number of the next commit above `newest`: what is kept names commits that a backup does not know.

        Writes `ledger.commits`.
        """
        with self.context.database.writing(self.work, None) as session:
            if newest > session.seq:
                session.execute(query("raise_commit"), {"seq": newest, "now": session.now})

    def _take(self, chunk: UnknownChunk, taken: TakenIn, *, gives_up: bool = False) -> None:
        """Record a chunk; its files are copied here first where they lie in another folder. With `gives_up` what can be
        read of its answers is kept.
        """
        chunk_id, own = chunk.saved.chunk_id, self.raw_folder
        if chunk.folder.path != own.path:
            own.copy_chunk(chunk_id, chunk.folder)
        if gives_up:
            keep_readable(own, chunk_id)
        elif chunk_id in taken.fetched_again or (was_answered_here(chunk.saved) and are_broken(own, chunk_id)):
            set_damaged_aside(own, chunk_id)
        try:
            is_new = self._restore(chunk.saved, own)
        except duckdb.Error:  # the files have the form of a chunk, and not its content
            taken.damaged.append(chunk_id)
            return
        if is_new:
            taken.chunks += 1
            taken.requests += chunk.saved.requests

    def _restore(self, saved: SavedChunk, folder: RawFolder | None) -> bool:
        """Record the events of a chunk that are missing, and with `folder` its requests; return whether any were.

        Writes `ledger.requests`, `ledger.events`, `ledger.prompt_versions`, `ledger.policies`.
        """
        chunk = {"chunk_id": saved.chunk_id}
        with self.context.database.writing(self.work, saved.run_id) as session:
            known, collected = session.one(query("chunk_is_known"), chunk)
            kinds = {kind for kind, _, _ in session.rows(query("chunk_events"), chunk)}
            notes = [] if collected else [each for each in _notes(saved) if each.kind not in kinds]
            if folder is not None and not known:
                self._restore_prompt(session, saved)
                self._restore_run(session, saved)
                restore_requests(session, folder.requests(saved.chunk_id))
                record_links(session, saved.links, None)
            _append(session, saved, notes, saved.chunk_id)
            return bool(notes)

    def _restore_prompt(self, session: Session, saved: SavedChunk) -> None:
        """Record the prompt version and the policy of a chunk as they were recorded, where they are missing.

        Writes `ledger.prompt_versions`, `ledger.policies`.
        """
        names = quote_list(self.names if saved.pipeline in self.names else [saved.pipeline])
        stamp = {"seq": session.seq}
        version = {"recipe": OLDEST_RECIPE, **saved.version}
        session.execute(query("restore_version", pipelines=names), version | stamp)
        policy = {"recipe": OLDEST_RECIPE, "key_types": None, **saved.policy}
        policy |= stamp | {"now": policy.pop("recorded_at", None)}
        session.execute(query("insert_policy", pipelines=names), policy)

    def _restore_run(self, session: Session, saved: SavedChunk) -> None:
        """Record that the run of a chunk began and ended, where the ledger does not know the run.

        Writes `ledger.events`.
        """
        if session.one(query("run_is_known"), {"run_id": saved.run_id})[0]:
            return
        begun = Note(kind="run_started", data={}, recorded_at=saved.notes[0].recorded_at)
        ended = Note(kind="run_ended", data={"status": "restored"}, recorded_at=saved.notes[-1].recorded_at)
        _append(session, saved, [begun, ended], None)


def taken_in_text(taken: TakenIn) -> str:
    """Return what was taken in, and what the raw folder cannot bring back."""
    chunks = f"{taken.chunks:,} chunk{'s' if taken.chunks != 1 else ''}"
    return (
        f"the raw folder had {chunks} with {taken.requests:,} requests that the database did not know: they are taken "
        f"in, and not paid for again. {NOT_IN_RAW}"
    )


def raw_log(context: Context) -> RawLog:
    """Return the raw folders of the project as the database of `context` reads them."""
    return RawLog(
        path=context.database.path,
        folders=[RawFolder(path=each) for each in context.raw_folders()],
        emulated=context.settings.emulator,
    )


def unreadable(name: str, chunk_ids: Sequence[str], folder: RawFolder) -> GateError:
    """Return the error for chunks that cannot be read: their rows would be bought again."""
    are = "chunks cannot" if len(chunk_ids) > 1 else "chunk cannot"
    what = (
        f"{len(chunk_ids):,} {are} be read in {folder.path}: {', '.join(chunk_ids)}. Their answers may have been paid "
        "for, and the database does not have them"
    )
    reasons = (why_unreadable(path) for each in chunk_ids for path in folder.files(each))
    reason = next((f"{each}\n" for each in reasons if each is not None), "")
    hint = (
        f"{reason}Put the files of these chunks back from a backup, and run again. To give them up, so that their rows "
        f"may be paid for a second time: batchpipe recover {name} --leave"
    )
    return GateError(what, where=name, hint=hint)


def say_taken_in(context: Context, taken: TakenIn) -> None:
    """Say which chunks were taken in, and whose results are fetched again."""
    for chunk_id in taken.fetched_again:
        context.say(fetched_again_text(chunk_id))
    if taken.chunks:
        context.say(taken_in_text(taken))


def fetched_again_text(chunk_id: str) -> str:
    """Return what becomes of a chunk whose saved results cannot be read."""
    return (
        f"the saved results of the chunk {chunk_id} cannot be read: they are set aside, and the provider is asked for "
        "them again, at no cost"
    )


def _can_be_taken(chunk: UnknownChunk, taken: TakenIn) -> bool:
    """Return whether a chunk can be recorded, and note in `taken` where its results cannot be read."""
    chunk_id = chunk.saved.chunk_id
    if answers_are_lost(chunk.folder, chunk_id, chunk.saved):
        taken.damaged.append(chunk_id)
        return False
    if has_batch(chunk.saved) and are_broken(chunk.folder, chunk_id):
        taken.fetched_again.append(chunk_id)
    return True


def other_database(name: str, found: UnknownChunks) -> GateError:
    """Return the error that asks a person once about the chunks of another database."""
    files = ", ".join(sorted({each.saved.file for each in found.others}))
    requests = sum(each.saved.requests for each in found.others)
    what = (
        f"the raw folder has {requests:,} requests of {name} that the database {files} sent, and this database knows "
        "nothing of the pipeline"
    )
    hint = (
        f"To take their results in and pay for nothing again: batchpipe recover {name} --from-raw; "
        f"to begin with nothing: batchpipe recover {name} --leave"
    )
    return GateError(what, where=name, hint=hint)


def _append(session: Session, saved: SavedChunk, notes: Sequence[Note], chunk_id: str | None) -> None:
    """Record `notes` as events at the times at which they were noted.

    Writes `ledger.events`.
    """
    for note in notes:
        at = replace(session, now=note.recorded_at)
        add_event(at, saved.pipeline, note.kind, note.data, run_id=saved.run_id, chunk_id=chunk_id)


def _notes(saved: SavedChunk) -> list[Note]:
    """Return the events to bring back. The collector records the end of a batch itself."""
    notes = [each for each in saved.notes if each.kind != "batch_ended"]
    ended = saved.data_of("batch_ended")
    moment = saved.time_of("batch_ended")
    has_batch = ended is not None and ended.get("batch_id") is not None
    if ended is not None and has_batch and moment is not None and saved.data_of(*SUBMITTED) is None:
        notes.append(Note(kind="chunk_adopted", data={"batch_id": ended["batch_id"]}, recorded_at=moment))
    return notes
