"""Take in unknown chunks of pipelines whose lock nobody holds: of those, too, that have no file any more.

A run takes in its own pipeline's chunks under its own lock; see `take_in.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchpipe.common.errors import GateError, LockedError
from batchpipe.common.hints import typed_again
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.locks import pipeline_lock
from batchpipe.engine.ledger.raw_folder import RawFolder, raw_folder_of
from batchpipe.engine.ledger.unknown_chunks import UnknownChunks
from batchpipe.engine.replay.take_in import RawReplay, say_taken_in, unreadable
from batchpipe.pipeline.files import declared_in
from batchpipe.pipeline.model import PipelineFile
from batchpipe.store.database import Work


def take_in_where_free(context: Context, work: Work, names: Sequence[str]) -> None:
    """Take in the requests and events of unknown chunks, unless a run holds the pipeline's lock: it has done so.

    Another database's chunks stay where they are.
    Writes the ledger, the raw folder.
    """
    replay = RawReplay(context=context, work=work, names=names)
    found = _unknown(replay)

    def take_in() -> Sequence[str]:
        taken = replay.take_in(found, asked=None)
        say_taken_in(context, taken)
        return taken.damaged

    damaged = _where_free(replay, found, take_in)
    if damaged:
        lost = unreadable(names[0], damaged, replay.raw_folder)
        context.say(f"{lost.what}. {typed_again(lost.hint or '')}")


def take_in_vanished(context: Context, work: Work, file: PipelineFile, found: UnknownChunks) -> None:
    """Take in the unknown chunks of pipelines that have no file any more, where the ledger knows nothing of `file`'s.

    Its file may be one of theirs under a new name, and the gate that says so goes by the ledger: by the prompts and
    keys of their requests, whether their answers can be read or not.
    Writes the ledger, the raw folder. Raises GateError where requests of theirs cannot be read, and nothing else is
    known of `file`'s: what was bought then may be what it is about to buy.
    """
    names = vanished(file, found)
    unread = [(name, chunk_ids) for name in names if (chunk_ids := _taken_in_vanished(context, work, name))]
    if unread and not found.ours and file.pipeline.renamed_from is not False:
        raise _renamed_unread(file, *unread[0], raw_folder_of(context.database))


def vanished(file: PipelineFile, found: UnknownChunks) -> list[str]:
    """Return the pipelines without a file whose unknown chunks a run of `file` takes in: those of which it may be one
    under a new name.
    """
    if found.holds or not found.elsewhere:
        return []
    present = {each.name for each in declared_in(file.root, file.path, *file.path.parent.glob("*.toml"))}
    return sorted(found.elsewhere - present)


def _taken_in_vanished(context: Context, work: Work, name: str) -> Sequence[str]:
    """Take in the unknown chunks of a pipeline that has no file; return the ids of those whose requests cannot be
    read.
    """
    replay = RawReplay(context=context, work=work, names=[name])
    found = _unknown(replay)

    def take_in() -> Sequence[str]:
        taken = replay.take_in(found, asked=None)
        say_taken_in(context, taken)
        known = replay.take_in_lost(found)
        return [each for each in taken.damaged if each not in known]

    return _where_free(replay, found, take_in)


def _unknown(replay: RawReplay) -> UnknownChunks:
    with replay.context.database.reading(replay.work) as session:
        return replay.unknown(session)


def _where_free(replay: RawReplay, found: UnknownChunks, act: Callable[[], Sequence[str]]) -> Sequence[str]:
    """Return what `act` returns under the pipeline's lock; nothing where nothing is to be taken in, or a run has it."""
    if not (found.ours or found.damaged):
        return ()
    try:
        with pipeline_lock(replay.context.database.make_folder("locks"), replay.names[0], replay.context.clock()):
            return act()
    except LockedError:
        return ()


def _renamed_unread(file: PipelineFile, older: str, chunk_ids: Sequence[str], folder: RawFolder) -> GateError:
    """Return the gate for a pipeline without a history, where what `older`, which has no file, bought is unreadable."""
    name, lost = file.pipeline.name, unreadable(older, chunk_ids, folder)
    what = f"{older} has no file any more, and {name} may be {older} under a new name: nothing was sent. {lost.what}"
    hint = (
        "Put the files of these chunks back from a backup, and run again. "
        f'If {name} is {older} under a new name, write renamed_from = "{older}" in the file. '
        "If it is another pipeline, write renamed_from = false."
    )
    return GateError(what, where=file.where("name"), hint=hint)
