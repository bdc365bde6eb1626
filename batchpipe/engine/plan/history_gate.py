"""Decide whose history a pipeline continues, if that is in doubt: a renamed file, or two pipelines with one name.

Nothing is bought a second time without a warning: such a run stops at a gate that names the ways out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import duckdb

from batchpipe.common.errors import GateError
from batchpipe.engine.ledger.renames import Link, earlier_names, link_line, linked_by, rename_links
from batchpipe.engine.output.ownership import output_place
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.recorded_recipes import versions_by_every_recipe
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.pipeline.files import declared_in
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import Sql, folded, quote_list, table_parts
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query

OWN_NAME = Sql("pipeline")
NOT_TRIED = Sql("reason <> 'try'")  # a pipeline whose rows were tried alone has no history of its own yet
EVALUATED_NAME = Sql("split_part(pipeline, ':', 1)")  # of an evaluation or a judge the pipeline that it is for


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Says that only the keys of the input can tell whose history it is.

    `vanished` are the pipelines of the ledger that have no file any more, for a pipeline without a history, or with a
    name that these had before; none for a pipeline that is known, but not with this prompt.
    """

    vanished: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _OlderOne:
    """What a vanished pipeline has in common with one under another name: the prompt, `shared` keys of its `rows`."""

    name: str
    same_prompt: bool
    rows: int
    shared: int

    @property
    def shares_keys(self) -> bool:
        """Return whether half of the input's keys are those of the vanished pipeline."""
        return bool(self.rows) and self.shared * 2 >= self.rows


def history_doubt(session: Session, resolved: Resolved) -> Doubt | None:
    """Return the doubt about the pipeline's history before its input is read; None if there is none.

    Reads `ledger.requests`, `ledger.decisions`, `ledger.prompt_versions`, `ledger.events`.
    """
    file, names = resolved.file, quote_list(resolved.names)
    known, used = False, False
    if session.knows(resolved.names):
        statement = query("history", pipelines=names, of=OWN_NAME, counts=NOT_TRIED)
        known, used = session.one(statement, {"prompt_hashes": _prompt_hashes(resolved)})
    if known:
        back = _vanished(file, _later_names(session, resolved.names))
        if back and file.pipeline.renamed_from is not False:
            return Doubt(vanished=back)
        return None if used or file.pipeline.input.window else Doubt(vanished=())
    if file.pipeline.renamed_from is False or session.blank or _was_evaluated(session, resolved):
        return None
    links = rename_links(session)
    continued = {older for _, older in links}
    others = [name for (name,) in session.rows(query("pipelines_with_history", of=EVALUATED_NAME))]
    # The name that a pipeline had last stands first.
    others = sorted((each for each in others if each not in resolved.names), key=lambda name: name in continued)
    vanished = _vanished(file, others, links)
    return Doubt(vanished=vanished) if vanished else None


def _was_evaluated(session: Session, resolved: Resolved) -> bool:
    """Return whether the pipeline was evaluated: then it stood beside the others under its name of today."""
    statement = query("history", pipelines=quote_list(resolved.names), of=EVALUATED_NAME, counts=NOT_TRIED)
    return session.knows(resolved.names) and bool(session.one(statement, {"prompt_hashes": []})[0])


def _later_names(session: Session, names: Sequence[str]) -> list[str]:
    """Return the names to which pipelines called `names` were renamed. Who gets an older name back continues them."""
    links = rename_links(session)
    later = earlier_names(names, [(older, name) for name, older in links]) if links else []
    return [each for each in later if each not in names]


def _vanished(file: PipelineFile, names: Sequence[str], links: Sequence[Link] = ()) -> list[str]:
    """Return which of `names` have no pipeline file any more, nor do the names that `links` connect with them.

    The file itself does not count: what had a name that it has again may have vanished all the same.
    """
    beside = file.path.parent.glob("*.toml")
    present = {each.name for each in declared_in(file.root, file.path, *beside)} if names else set()
    present -= {file.pipeline.name}
    return [name for name in names if present.isdisjoint(linked_by([name], links))]


def history_gate(session: Session, resolved: Resolved, snapshot: Snapshot, doubt: Doubt) -> GateError | None:
    """Return the gate at which a run stops, now that the keys of the input are known; None where there is none.

    Reads `ledger.requests`, `ledger.decisions`, `ledger.prompt_versions`, `snapshot`.
    """
    if not doubt.vanished:
        rows, shared, known = _shared_keys(session, resolved.names, snapshot, OWN_NAME)
        # A pilot or a limit has sent few of the rows: then most known keys are in the input, and it is the same one.
        return _other_project(resolved, rows, shared) if shared * 2 < min(rows, known) else None
    found = _likely(_older_ones(session, resolved, snapshot, doubt.vanished))
    return _renamed(resolved, found) if found else None


def _older_ones(
    session: Session, resolved: Resolved, snapshot: Snapshot, vanished: Sequence[str]
) -> Iterator[_OlderOne]:
    """Yield what each of `vanished` has in common with the pipeline. A name that another of them continues is passed
    over.
    """
    links = rename_links(session)
    continued: set[str] = set()
    for name in vanished:
        names = earlier_names([name], links)
        if name not in continued:
            rows, shared, _ = _shared_keys(session, names, snapshot, EVALUATED_NAME)
            # What was tried is paid, too.
            statement = query("history", pipelines=quote_list(names), of=EVALUATED_NAME, counts=Sql("true"))
            same_prompt = session.one(statement, {"prompt_hashes": _prompt_hashes(resolved)})[1]
            yield _OlderOne(name=name, same_prompt=same_prompt, rows=rows, shared=shared)
        continued.update(names)


def _likely(older_ones: Iterable[_OlderOne]) -> list[_OlderOne]:
    """Return those that the pipeline may be under a new name: with its prompt, and of these the ones with keys of its
    input; else with half of its keys.
    """
    found = list(older_ones)
    prompts = [each for each in found if each.same_prompt]
    return [each for each in prompts if each.shared] or prompts or [each for each in found if each.shares_keys]


def refuse_renamed(session: Session, resolved: Resolved, snapshot: Snapshot) -> None:
    """Raise the GateError of a pipeline that looks like a vanished one under a new name, before `try` or `eval` buys
    what the older name has bought.

    Reads `ledger.requests`, `ledger.decisions`, `ledger.prompt_versions`, `ledger.events`, `snapshot`.
    """
    doubt = history_doubt(session, resolved)
    gate = history_gate(session, resolved, snapshot, doubt) if doubt is not None and doubt.vanished else None
    if gate is not None:
        raise gate


def keys_gate(database: Database, work: Work, resolved: Resolved, plan: Plan) -> GateError | None:
    """Return the gate for an input that lost its keys: an empty one, or one whose new keys are to be paid for.

    Keys that left the input cost nothing by themselves. `[input] window` says that keys come and go.
    Reads the output table.
    """
    file = resolved.file
    if file.pipeline.input.window or not plan.known:
        return None
    if plan.snapshot.rows == 0:
        return (
            None
            if _reads_own_output(resolved)
            else GateError(
                f"the input is empty: all {plan.known:,} known keys left it",
                where=file.where("[input] query"),
                hint="If that is meant, run with --approve: results stay, and no row is current. If the query gives "
                "only some of the rows at a time, write window = true under [input].",
            )
        )
    if not plan.requests or plan.appeared * 2 < plan.snapshot.rows:
        return None
    known, vanished = plan.known, plan.vanished
    if not _replaced(known, vanished, plan.appeared):
        # Of keys that left the input long ago there may be many: the rows that are current were in the last one.
        known = _current_rows(database, work, resolved)
        vanished = known - (plan.snapshot.rows - plan.appeared)
    if not _replaced(known, vanished, plan.appeared):
        return None
    return GateError(
        f"{vanished:,} of {known:,} known keys left the input and {plan.appeared:,} appeared",
        where=file.where("[input] key"),
        hint="If that is meant, run with --approve; for a query over the last days write window = true under [input]. "
        "If not, correct `key`: else rows are paid for again.",
    )


def _replaced(known: int, vanished: int, appeared: int) -> bool:
    """Return whether more than half of the known keys vanished and as many new ones appeared."""
    return vanished * 2 > known and appeared >= vanished


def _current_rows(database: Database, work: Work, resolved: Resolved) -> int:
    """Return how many rows of the output table are current.

    Reads the output table.
    """
    with database.reading(work) as session:
        place = output_place(session, resolved)
        return int(session.one(query("current_rows", table=place.quoted))[0]) if place.columns else 0


def _reads_own_output(resolved: Resolved) -> bool:
    """Return whether the input query reads the output table: rows leave such an input because they are answered."""
    try:
        read = duckdb.get_table_names(resolved.file.query)
    except duckdb.Error:
        return False
    return folded(table_parts(resolved.table)[1]) in {folded(each) for each in read}


def _renamed(resolved: Resolved, found: Sequence[_OlderOne]) -> GateError:
    """Return the gate for a pipeline that looks like one of `found` under a new name, or like several together."""
    first, *others = found
    why = "has its prompt" if first.same_prompt else f"has {first.shared:,} of its keys in {first.rows:,} rows"
    older = " or ".join(each.name for each in found)
    what = f"{first.name} has no file any more, and {resolved.name} {why}"
    what += "".join(f"; so has {each.name} none, and it fits as well" for each in others)
    ways = [link_line(resolved.file, [each.name]) for each in found]
    together = link_line(resolved.file, [each.name for each in found])
    together = f" If it goes on with all of them, write {together}." if others else ""
    return GateError(
        f"{what}: nothing was sent",
        where=resolved.file.where("name"),
        hint=f"If it is {older} under a new name, write {' or '.join(ways)} in the file: its answers are carried "
        f"over, unpaid.{together} If it is another pipeline, write renamed_from = false.",
    )


def _other_project(resolved: Resolved, rows: int, shared: int) -> GateError:
    """Return the gate for a pipeline whose stored history has another prompt and other keys."""
    name = resolved.name
    return GateError(
        f"the database knows a pipeline {name} with another prompt and other keys ({shared:,} of {rows:,} are known): "
        "nothing was sent",
        where=resolved.file.where("name"),
        hint=f'If that is another project\'s, write another name = "..." in the file, or set another database. If it '
        f"is this one, edited: batchpipe run {name} --approve; for a query over the last days write window = "
        "true under [input].",
    )


def _shared_keys(session: Session, names: Sequence[str], snapshot: Snapshot, of: Sql) -> tuple[int, int, int]:
    """Return how many rows the input has, how many of their keys the pipelines called `names` know, and how many keys
    these know at all. `of` is SQL for the name of the pipeline that a request belongs to.
    """
    statement = query("shared_keys", pipelines=quote_list(names), relation=snapshot.relation, of=of)
    rows, shared, known = session.one(statement)
    return int(rows), int(shared), int(known)


def _prompt_hashes(resolved: Resolved) -> list[str]:
    """Return the hashes of today's prompt, by today's recipe and by every other one."""
    return [each.prompt_hash for each in versions_by_every_recipe(resolved)]
