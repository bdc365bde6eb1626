"""The links that `renamed_from` makes between pipelines: events of the ledger, so that a history is never cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing

from batchpipe.engine.ledger.events import add_event
from batchpipe.pipeline.model import PipelineFile
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query

RENAMED = "renamed"  # the kind of the event; its data names the older pipeline as `renamed_from`

Link = tuple[str, str]


def rename_links(session: Session) -> list[Link]:
    """Return every link that was recorded, as (pipeline, older name).

    Reads `ledger.events`.
    """
    return [(name, older) for name, older in session.rows(query("rename_links"))]


def record_rename(session: Session, file: PipelineFile, run_id: str | None) -> None:
    """Record the links of `renamed_from`, where they are new.

    Reads `ledger.events`. Writes `ledger.events`.
    """
    if file.pipeline.older_names and not file.evaluates:
        record_links(session, [(file.pipeline.name, older) for older in file.pipeline.older_names], run_id)


def record_links(session: Session, links: Iterable[Link], run_id: str | None) -> None:
    """Record those of `links` that are new.

    Reads `ledger.events`. Writes `ledger.events`.
    """
    known = rename_links(session)
    for name, older in links:
        if (name, older) not in known:
            add_event(session, name, RENAMED, {"renamed_from": older}, run_id=run_id)


def link_line(file: PipelineFile, older: Iterable[str]) -> str:
    """Return the line of `file` that says that its pipeline goes on with those called `older`, too."""
    names = dict.fromkeys((*file.pipeline.older_names, *older))
    listed = ", ".join(f'"{each}"' for each in names)
    return f"renamed_from = [{listed}]" if len(names) > 1 else f"renamed_from = {listed}"


def earlier_names(names: Sequence[str], links: Iterable[Link]) -> list[str]:
    """Return the names whose history the pipelines called `names` continue: those that links lead back to."""
    return _reached(names, list(links))


def linked_by(names: Sequence[str], links: Sequence[Link]) -> list[str]:
    """Return `names`, and all that `links` connect with them, in either direction."""
    return _reached(names, [*links, *((older, name) for name, older in links)])


def linked_with(file: PipelineFile, names: Sequence[str], links: Sequence[Link]) -> list[str]:
    """Return `names`, and all that `links` connect with them, in either direction; `names` alone where `file` says that
    it is no renamed pipeline.
    """
    return list(names) if file.pipeline.renamed_from is False else linked_by(names, links)


def with_history(file: PipelineFile, links: Sequence[Link]) -> PipelineFile:
    """Return `file` as one that continues every history that the recorded links lead back to.

    So a second rename, or a `renamed_from` that was removed again, cuts no history off.
    """
    pipeline = file.pipeline
    if not links or pipeline.renamed_from is False:
        return file
    names = earlier_names(pipeline.names, links)
    if len(names) == len(pipeline.names):
        return file
    return file.model_copy(update={"pipeline": pipeline.continuing(names[1:])})


def with_histories(database: Database, opened: Callable[[], Work], files: Sequence[PipelineFile]) -> list[PipelineFile]:
    """Return each of `files` as `with_history` does; `opened` gives a working database, which is closed.

    Reads `ledger.events`. Raises DatabaseError and LockedError where the database cannot be read.
    """
    if not database.path.exists():
        return list(files)
    with closing(opened()) as work, database.reading(work) as session:
        links = rename_links(session)
    return [with_history(each, links) for each in files]


def _reached(names: Sequence[str], links: Sequence[Link]) -> list[str]:
    """Return `names` and all names that `links` lead to from them, each once."""
    found = list(dict.fromkeys(names))
    for name in found:
        found += [older for each, older in links if each == name and older not in found]
    return found
