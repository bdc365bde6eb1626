"""Run `batchpipe recover`: decide about chunks of unknown outcome, and rebuild the ledger from raw results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from batchpipe.commands.call.call import Call
from batchpipe.commands.printing.text import count, duration, moment, money, safe, table
from batchpipe.common.errors import UsageError
from batchpipe.engine.batches.recover import AbandonedChunks, Recovery, UndecidedChunks, held_until
from batchpipe.engine.batches.repair import repair
from batchpipe.engine.ledger.events import OpenBatch
from batchpipe.engine.ledger.renames import with_histories
from batchpipe.engine.output.output_table import Repaired
from batchpipe.engine.replay.rebuild import Rebuilt, leave_others, rebuild
from batchpipe.engine.replay.take_in import NOT_IN_RAW
from batchpipe.engine.replay.where_free import take_in_where_free

STATES = {
    "prepared": "being sent, or its run was killed",
    "held": "outcome unknown",
    "presumed": "a batch that may be its own is waited for",
}


NOTHING_TO_LEAVE = "{}: the raw folder has no chunks of another database to leave alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What one call did; None for what it was not asked to do."""

    rebuilt: Rebuilt | None = None
    left: int | None = None
    given_up: Sequence[str] | None = None
    adopted: OpenBatch | None = None
    abandoned: AbandonedChunks | None = None
    repaired: Repaired | None = None


def recover(
    call: Call,
    pipeline: str,
    adopt: str | None,
    *,
    abandon: bool,
    from_raw: bool,
    leave: bool = False,
    repairs: bool = False,
) -> int:
    """Do what the options ask for; without options list the chunks that wait for a decision.

    Raises UsageError for options that exclude each other, and for an argument that names several pipelines.
    """
    if adopt is not None and abandon:
        hint = "Give one of them; without both the chunks are listed."
        raise UsageError("--adopt and --abandon exclude each other", where="the command line", hint=hint)
    if from_raw and leave:
        hint = "Give one of them: take in what another database has bought, or leave it alone."
        raise UsageError("--from-raw and --leave exclude each other", where="the command line", hint=hint)
    files, _ = call.pipelines([pipeline])
    if len(files) != 1:
        hint = "Name one pipeline by its file or its name."
        raise UsageError(f"{pipeline!r} holds several pipelines", where="the command line", hint=hint)
    with call.context() as context:
        work = context.work()
        try:
            (file,) = with_histories(context.database, context.work, files)
            recovery = Recovery(context=context, file=file, work=work)
            if not (from_raw or leave):
                take_in_where_free(context, work, recovery.names)
            if adopt is None and not (abandon or from_raw or leave or repairs):
                _print_undecided(call, recovery)
                return 0
            with recovery.locked():
                left, given_up = leave_others(recovery) if leave else (None, None)
                done = Done(
                    rebuilt=rebuild(recovery) if from_raw else None,
                    left=left,
                    given_up=given_up,
                    adopted=recovery.adopt(adopt) if adopt is not None else None,
                    abandoned=recovery.abandon() if abandon else None,
                    repaired=repair(recovery) if repairs else None,
                )
        finally:
            work.close()
    if call.json:
        call.out(_done_json(recovery.name, done, adopt))
    else:
        call.out(_done_text(recovery.name, done, adopt, call.suggest))
    return 0


def _print_undecided(call: Call, recovery: Recovery) -> None:
    """Print the chunks of unknown outcome, and the batches that may be theirs."""
    found = recovery.look()
    wait = recovery.context.reconcile_wait
    if call.json:
        chunks = [_chunk_json(each, wait) for each in found.chunks]
        candidates = None if found.candidates is None else [asdict(each) for each in found.candidates]
        call.out({"pipeline": recovery.name, "held": chunks, "candidates": candidates})
        return
    call.out(_undecided_text(call, recovery, found, wait))


def _chunk_json(chunk: OpenBatch, wait: float) -> dict[str, Any]:
    return {
        "chunk_id": chunk.chunk_id,
        "state": chunk.state,
        "batch_id": chunk.batch_id,
        "requests": chunk.requests,
        "provider": chunk.provider,
        "model": chunk.model,
        "rung": chunk.rung,
        "max_usd": chunk.max_usd,
        "since": chunk.prepared_at,
        "held_until": held_until(chunk, wait),
    }


def _undecided_text(call: Call, recovery: Recovery, found: UndecidedChunks, wait: float) -> str:
    name, now = recovery.name, recovery.context.clock()
    if not found.chunks:
        return f"{name}: nothing is held: the outcome of every submit is known"
    rows = [
        (
            each.chunk_id,
            STATES[each.state] + (f" ({each.batch_id})" if each.batch_id else ""),
            count(each.requests),
            f"{moment(each.prepared_at)} ({duration((now - each.prepared_at).total_seconds())})",
            moment(held_until(each, wait)) or "-",
        )
        for each in found.chunks
    ]
    header = ("held chunk", "state", "requests", "since", "held until")
    parts = [name, table(header, rows, terminal=call.terminal, right=(2,))]
    if found.candidates:
        listed = [
            (
                safe(each.batch_id),
                "unknown" if each.requests is None else count(each.requests),
                moment(each.created_at) or "unknown",
                "ended" if each.ended else "in progress",
            )
            for each in found.candidates
        ]
        parts += ["", table(("unknown batch", "requests", "created", "state"), listed, right=(1,))]
    else:
        parts += ["", "The provider has no batch from that time that the database does not know."]
    parts += [
        "",
        "A run looks for these batches itself and goes on. Where it cannot decide, or you know more:",
        f"  that batch is ours:     {call.suggest(f'recover {name} --adopt BATCH_ID')}",
        f"  no batch was ever made: {call.suggest(f'recover {name} --abandon')}",
    ]
    return "\n".join(parts)


def _done_json(name: str, done: Done, batch_id: str | None) -> dict[str, Any]:
    abandoned = done.abandoned
    return {
        "pipeline": name,
        "rebuilt": None if done.rebuilt is None else asdict(done.rebuilt),
        "left": done.left,
        "given_up": None if done.given_up is None else list(done.given_up),
        "repaired": None if done.repaired is None else asdict(done.repaired),
        "adopted": None
        if done.adopted is None
        else {"chunk_id": done.adopted.chunk_id, "batch_id": batch_id, "requests": done.adopted.requests},
        "abandoned": None
        if abandoned is None
        else {
            "chunks": [{"chunk_id": each.chunk_id, "requests": each.requests} for each in abandoned.chunks],
            "kept": [{"chunk_id": each.chunk_id, "why": why} for each, why in abandoned.kept],
            "requests": abandoned.requests,
            "max_usd": abandoned.max_usd,
        },
    }


def _done_text(name: str, done: Done, batch_id: str | None, suggest: Callable[[str], str]) -> str:
    lines = []
    if done.rebuilt is not None:
        lines += _rebuilt_lines(name, done.rebuilt)
    if done.left is not None:
        chunks = f"{count(done.left, 'chunk')} of another database in the raw folder"
        if done.left or not done.given_up:
            lines.append(
                f"{name}: {chunks} left alone: a run asks no more" if done.left else NOTHING_TO_LEAVE.format(name)
            )
    if done.given_up:
        unread = count(len(done.given_up), "chunk")
        lines.append(f"{name}: {unread} that cannot be read given up: {safe(', '.join(done.given_up))}")
        lines.append("  Their rows are due where no other answer is known, and may be paid for a second time.")
    if done.adopted is not None:
        lines.append(f"{name}: the batch {safe(batch_id)} is taken for chunk {done.adopted.chunk_id}")
        lines.append(
            "  Its custom ids are checked when it is collected: if they are not the chunk's, it is released again."
        )
    if done.abandoned is not None:
        lines += _abandoned_lines(name, done.abandoned)
    if done.repaired is not None:
        lines += _repaired_lines(name, done.repaired)
    lines.append(f"  To go on: {suggest(f'run {name}')}")
    return "\n".join(lines)


def _rebuilt_lines(name: str, found: Rebuilt) -> list[str]:
    chunks, batches = count(found.chunks, "chunk"), count(found.batches, "batch", "batches")
    lines = [f"{name}: {chunks} brought back, the results of {batches} taken in from raw files"]
    rows = [
        (found.accepted, "accepted"),
        (found.failed, "failed"),
        (found.due_again, "due again"),
    ]
    shown = ", ".join(f"{number:,} {word}" for number, word in rows if number)
    if shown:
        lines.append(f"  rows: {shown}")
    if found.in_flight:
        lines.append(f"  {count(found.in_flight, 'chunk')} still open: the next run finds out what became of them")
    if found.others:
        lines.append(f"  {count(found.others, 'chunk')} of another database in this folder left alone")
    if found.damaged:
        lines.append(f"  cannot be read, left where they are: {', '.join(found.damaged)}")
    lines.append(f"  {NOT_IN_RAW}")
    return lines


def _repaired_lines(name: str, found: Repaired) -> list[str]:
    if not found.anything:
        return [f"{name}: the output table is as stored answers say"]
    rows = ((found.missing, "missing"), (found.added, "added"), (found.changed, "changed"))
    shown = ", ".join(f"{count(number, 'row')} {word}" for number, word in rows if number)
    return [
        f"{name}: the output table was changed by hand ({shown or found.found})",
        "  It is written again from stored answers.",
        "  The next run sets `_current` and the columns of `include`, which follow the input.",
    ]


def _abandoned_lines(name: str, found: AbandonedChunks) -> list[str]:
    if found.chunks:
        given_up = f"{count(len(found.chunks), 'chunk')} with {count(found.requests, 'request')}"
        lines = [
            f"{name}: {given_up} given up: their rows are due again",
            f"  If the provider did process them, they are paid for twice: at most {money(found.max_usd)} more.",
        ]
    else:
        lines = [f"{name}: there is nothing to give up"]
    for each, why in found.kept:
        lines.append(f"  kept: {safe(each.batch_id)} with {count(each.requests, 'request')}: {safe(why)}")
    return lines
