"""Run `batchpipe status`: print where the rows of each pipeline stand, and what is at the provider.

The command reads only the ledger, not the input or the provider, so it works during a run and offline.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from batchpipe.commands.call.call import Call
from batchpipe.commands.printing.raw import unknown_lines
from batchpipe.commands.printing.text import count, duration, moment, money, pairs, safe, shortened, shown_path, table
from batchpipe.commands.status.lines import AT_PROVIDER, in_evaluation, states_line, status_lines, what_is_wrong
from batchpipe.commands.status.local_rung import local_lines
from batchpipe.commands.status.read import OpenChunk, OpenOrder, Run, Status, chosen, read_statuses, with_links
from batchpipe.commands.status.states import Named
from batchpipe.commands.status.upstream import awaited_lines
from batchpipe.commands.status.waits import spent_text, wait_lines
from batchpipe.common.errors import UsageError
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.raw_folder import folder_bytes
from batchpipe.engine.plan.orders import withdraw_orders
from batchpipe.project.settings_place import settings_file, settings_table
from batchpipe.providers.known import with_provider


def status(call: Call, arguments: Sequence[str], withdraw: Sequence[int] = (), *, notify: bool = False) -> int:
    """Print where the pipelines stand; without `arguments` every one of the project and of the ledger, a line each.

    A single one is shown with its batches, orders and runs.

    `withdraw` are numbers of open orders of the one named pipeline; they are withdrawn. With `notify`, send the notices
    about ended runs and stuck batches that were not sent yet, as the setting `notify` says.
    """
    if notify and call.settings.notify is None:
        hint = f"Name a command or a webhook: {settings_table('notify')} in {settings_file()}."
        raise UsageError("nobody is set to be told", where="--notify", hint=hint)
    named, single = chosen(call, arguments)
    with call.context() as context:
        if withdraw:
            _withdraw(context, named, withdraw)
        found = read_statuses(context, named, everything=not arguments)
        if notify:
            _tell(call, context, named, found)
        now, path, folder = context.clock(), context.database.path, context.database.folder
    if call.json:
        call.emit([asdict(each) for each in found], single)
        return 0
    if not found:
        call.say(f"There is no pipeline yet. To make one: {call.suggest('new NAME')}")
    shown = [each for each in found if not call.quiet or what_is_wrong(each)]
    if arguments or len(found) == 1:
        for number, each in enumerate(shown):
            call.out(("\n" if number else "") + _text(each, now, call))
    elif shown:
        call.out(status_lines(shown, now, call.width if call.terminal else None))
        call.say(f"more of one: {call.suggest(f'status {shown[0].pipeline}')}")
    call.say(f"database: {shown_path(path, call.start)}" + ("" if path.exists() else " (not made yet)"))
    if folder.is_dir():
        call.say(f"working folder: {shown_path(folder, call.start)}, {_folder_line(folder)}")
    return 0


def _tell(call: Call, context: Context, named: Sequence[Named], found: Sequence[Status]) -> None:
    """Send the notices that are due about the pipelines, and say which."""
    from batchpipe.engine.notices.notices import Told, tell

    names = {each.name: each.names for each in named}
    rows = {each.pipeline: {"accepted": each.rows["accepted"], "failed": each.rows["failed"]} for each in found}
    told = [Told(pipeline=name, names=names.get(name, (name,)), rows=rows[name]) for name in rows]
    for each in tell(context, told, call.warn):
        call.say(f"told: {safe(each.value['text'])}")


def _withdraw(context: Context, named: Sequence[Named], numbers: Sequence[int]) -> None:
    if len(named) != 1:
        hint = "Orders are numbered within a pipeline: batchpipe status PIPELINE --withdraw N"
        raise UsageError("--withdraw needs one pipeline", where="--withdraw", hint=hint)
    work = context.work()
    try:
        with context.database.writing(work, None) as session:
            withdraw_orders(session, with_links(session, named)[0].names, numbers, None)
    finally:
        work.close()


def _text(found: Status, now: datetime, call: Call) -> str:
    head = found.pipeline + (" (paused)" if found.paused else "")
    parts = [head, _summary(found)]
    if at_provider := [each for each in found.batches if each.state in AT_PROVIDER]:
        parts.append(_batches_table(at_provider, call.terminal))
    parts += [_held_line(each, now) for each in found.batches if each.state not in AT_PROVIDER]
    parts += _evaluation_lines(found, now, call)
    parts += [f"  {each}" for each in awaited_lines(found.upstream, found.pipeline, call.suggest)]
    parts += wait_lines(found.troubles, found.pipeline, call.suggest)
    parts += local_lines(found.local, found.pipeline, call.suggest)
    parts += [_order_line(each) for each in found.orders]
    parts += [f"  {each}" for each in unknown_lines(found.to_take_in, found.pipeline, call.suggest)]
    if found.runs:
        parts.append(_runs_table(found.runs, call.terminal))
    if found.paused:
        parts.append(f"  To go on: {call.suggest(f'run {found.pipeline} --resume')}")
    return "\n".join(parts)


def _evaluation_lines(found: Status, now: datetime, call: Call) -> list[str]:
    """Return what evaluations of the pipeline have at the provider, or wait for, and how to go on."""
    if not found.evaluations:
        return []
    flying = [each for each in found.evaluations if each.state in AT_PROVIDER]
    table_of = [_batches_table(flying, call.terminal)] if flying else []
    held = [_held_line(each, now) for each in found.evaluations if each.state not in AT_PROVIDER]
    head = f"  {in_evaluation(found.evaluations)}. To collect it: {call.suggest(f'eval {found.pipeline}')}"
    return [head, *table_of, *held]


def _summary(found: Status) -> str:
    flying = [each for each in found.batches if each.state in AT_PROVIDER]
    requests = sum(each.requests for each in flying)
    in_flight = f"{count(len(flying), 'batch', 'batches')} with {count(requests, 'request')}"
    raw = f"{count(found.raw['files'], 'raw result file')}, {found.raw['bytes']:,} bytes"
    spent = spent_text(found.cost_usd, found.unpriced, found.booked_usd)
    return pairs(
        [
            ("rows", states_line(found.rows)),
            ("in flight", in_flight if flying else "nothing"),
            ("waiting", found.waits),
            ("spent", spent),
            ("evaluations", f"{money(found.evaluations_usd)} beside it" if found.evaluations_usd != 0 else None),
            ("kept", raw if found.raw["files"] else None),
            ("lock", f"held by {found.holder}" if found.holder else None),
        ]
    )


def _batches_table(batches: Sequence[OpenChunk], terminal: bool) -> str:
    rows = [
        (
            each.batch_id,
            each.state.replace("_", " "),
            f"{each.rung} {with_provider(each.provider, each.model)}",
            count(each.requests),
            duration(each.age_seconds),
            _left(each.expires_in_seconds),
        )
        for each in batches
    ]
    header = ("batch", "state", "rung", "requests", "age", "expires in")
    return table(header, rows, terminal=terminal, right=(3,))


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return duration(seconds) if seconds > 0 else "expired"


def _held_line(chunk: OpenChunk, now: datetime) -> str:
    what = f"  {count(chunk.requests, 'request')} of rung {chunk.rung}"
    if chunk.answered is not None:
        answered = f"{chunk.answered:,} answered so far"
        return f"{what}: asked in realtime, {answered}, or left by a killed run (chunk {chunk.chunk_id})"
    if chunk.state != "held" or chunk.held_until is None:
        return f"{what}: being sent, or its run was killed (chunk {chunk.chunk_id})"
    until = f"held until {moment(chunk.held_until)}" if chunk.held_until > now else "decided by the next run"
    return f"{what}: outcome of the submit unknown, {until} (chunk {chunk.chunk_id})"


def _order_line(order: OpenOrder) -> str:
    option = f"--{order.kind.replace('_', '-')}" + (
        "" if order.kind == "retry_failed" else f" {shlex.quote(safe(order.argument))}"
    )
    where = f" --where {shlex.quote(safe(order.selection))}" if order.selection else ""
    return f"  open order {order.number}: {option}{where}, since {moment(order.recorded_at)}"


def _runs_table(runs: Sequence[Run], terminal: bool) -> str:
    rows = [
        (
            moment(each.started_at),
            "not ended" if each.status == "open" else each.status.replace("_", " "),
            count(each.submitted),
            count(each.results),
            money(each.cost_usd),
            shortened(safe(each.message or ""), 60),
        )
        for each in runs
    ]
    return table(("last runs", "status", "sent", "collected", "cost", ""), rows, terminal=terminal, right=(2, 3, 4))


def _folder_line(folder: Path) -> str:
    """Return the size of a folder: `12,345 bytes (raw 12,000, work 345)`."""
    try:
        names = [each.name for each in sorted(folder.iterdir()) if each.is_dir()]
    except OSError:
        return "for its owner alone"
    parts = {name: folder_bytes(folder / name) for name in names}
    shown = ", ".join(f"{name} {size:,}" for name, size in parts.items() if size)
    return f"{folder_bytes(folder):,} bytes" + (f" ({shown})" if shown else "")
