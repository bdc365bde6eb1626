"""Run `batchpipe try`: answer a few rows now, with one realtime call each. A later run uses these answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

from batchpipe.commands.call.call import Call
from batchpipe.commands.call.model_name import refuse_no_model
from batchpipe.commands.call.options import TryRequest
from batchpipe.commands.call.params import split_params, typed_params
from batchpipe.commands.printing.text import count, money, pairs, safe, shown_key
from batchpipe.commands.printing.votes import member_names, vote_agreement_text
from batchpipe.commands.show.show import possible_keys
from batchpipe.common.errors import UsageError
from batchpipe.engine.calls.tried import TriedMember, TriedRow
from batchpipe.engine.replay.rebuild import take_in_all
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.try_rows import RowTry, TryOptions
from batchpipe.pipeline.model import PipelineFile
from batchpipe.providers.known import with_provider
from batchpipe.store.database import Work

SHOWN_CHARACTERS = 4_000
VERDICTS = {
    "accepted": "valid, accepted",
    "valid": "valid: one vote of the rung, which asks more than once",
    "no_quorum": "too few answers are valid",
    "invalid": "not valid",
    "truncated": "cut off at max_tokens",
    "context_window": "the context window was exceeded",
    "refused": "the model refused",
    "unknown": "not understood",
}


def try_rows(call: Call, request: TryRequest) -> int:
    """Send the rows one after another, and print each row when it is answered.

    Raises UsageError for options that exclude each other.
    """
    file = call.one_pipeline(request.pipeline, "try NAME")
    if request.rung is not None and request.model is not None:
        raise UsageError("--rung and --model exclude each other", where="--rung", hint="Give one of them.")
    if request.model is not None:
        refuse_no_model(request.model, "--model")
    params = typed_params([file], split_params(request.params))[file.pipeline.name]
    with call.context() as context:
        work = context.work()
        try:
            file = take_in_all(context, work, file)
            options = _options(work, file, request)
            with context.temporary_folder("try-") as folder:
                with context.source(file, params) as source:
                    resolved = context.resolve(file, source)
                    snapshot = source.snapshot(folder / "input.parquet", resolved.input_columns)
                row_try = RowTry(
                    context=context, resolved=resolved, snapshot=snapshot, work=work, folder=folder, params=params
                )
                found = []
                for each in row_try.rows(options):
                    found.append(each)
                    if not call.json:
                        call.out(("\n" if len(found) > 1 else "") + tried_text(each, resolved))
                for note in row_try.notes:
                    call.say(note)
        finally:
            work.close()
    _end(call, resolved, found)
    return 0


def _options(work: Work, file: PipelineFile, request: TryRequest) -> TryOptions:
    return TryOptions(
        keys=_keys(work, file, request.keys),
        rows=request.rows,
        where=request.where,
        rung=request.rung,
        model=request.model,
    )


def _keys(work: Work, file: PipelineFile, keys: Sequence[str]) -> list[str]:
    """Return the keys that the arguments name.

    Each argument is a row. A key of several columns is a JSON list, or its values are all arguments and name one row.
    """
    columns = file.pipeline.input.key
    if len(columns) > 1 and len(keys) == len(columns) and not keys[0].lstrip().startswith("["):
        return [possible_keys(work, file, keys)[0]]
    return [possible_keys(work, file, [key])[0] for key in keys]


def _end(call: Call, resolved: Resolved, found: Sequence[TriedRow]) -> None:
    costs = [each.cost_usd for each in found]
    cost = None if any(each is None for each in costs) else sum((each for each in costs if each), Decimal(0))
    if call.json:
        rows = [asdict(each) | {"seconds": round(each.seconds, 3)} for each in found]
        value: dict[str, Any] = {"pipeline": resolved.name, "rows": rows, "cost_usd": cost}
        call.out(value)
        return
    if not found:
        call.say("No row of the input was chosen.")
        return
    going_on = call.suggest(f"run {resolved.name}")
    tried = f"{count(len(found), 'row')} tried" + (
        f" for {money(cost)}" if cost is not None else " at a cost that is not known"
    )
    call.say(f"{tried}. A run uses the valid answers and does not pay again: {going_on}")


def tried_text(tried: TriedRow, resolved: Resolved) -> str:
    """Return one row as text: what was asked, what came back, what it cost. Nothing in it steers the terminal."""
    name = resolved.file.pipeline.models[tried.rung - 1].name if tried.members else tried.model
    rung = f"rung {tried.rung}, {name}" if tried.rung else f"{tried.model}, not on the ladder"
    lines = [f"{resolved.name} {shown_key(json.dumps(list(tried.key)))} ({safe(rung)})"]
    turns = resolved.templates.turns_text
    for title, text in (("system", tried.system), ("turns", turns), ("user", tried.user)):
        if text:
            lines.append(f"  {title}\n{_block(text)}")
    members = [replace(each, model=with_provider(each.provider, each.model)) for each in tried.members]
    names = member_names(members)
    lines += [_member(name, each) for name, each in zip(names, members, strict=True)]
    if tried.answer:
        stands = next((name for name, each in zip(names, members, strict=True) if each.winner), tried.model)
        title = f"answer that stands, of {safe(stands)}" if tried.members else "answer"
        lines.append(f"  {title}\n{_block(tried.answer)}")
    used = ((tried.input_tokens, "in"), (tried.output_tokens, "out"))
    tokens = ", ".join(f"{'unknown' if number is None else count(number)} {name}" for number, name in used)
    agreement = vote_agreement_text(tried.members, tried.agreement, tried.quorum) if tried.members else None
    told = [
        ("verdict", _verdict(tried, resolved)),
        ("agreement", agreement),
        ("tokens", tokens),
        ("cost", _paid(tried)),
    ]
    lines.append(pairs(told))
    return "\n".join(lines)


def _member(name: str, member: TriedMember) -> str:
    """Return the answer of one member of a rung that votes."""
    words = VERDICTS.get(member.verdict, member.verdict.replace("_", " ")) if not member.valid else "valid"
    error = f": {safe(member.error)}" if member.error else ""
    stands = ", wins" if member.winner else ""
    head = f"  {safe(name)}: {words}{stands}{error}; {_paid(member)}"
    return head + (f"\n{_block(member.answer)}" if member.answer else "")


def _paid(tried: TriedRow | TriedMember) -> str:
    if tried.known:
        return "nothing: it was answered before"
    return f"{money(tried.cost_usd)} at the realtime price, {tried.seconds:.1f} s"


def _verdict(tried: TriedRow, resolved: Resolved) -> str:
    if tried.verdict == "unaccepted":
        accept = resolved.file.pipeline.models[tried.rung - 1].accept
        higher = tried.rung < resolved.height
        return f"valid, but not accepted ({accept} is false): " + (
            "a run would ask the next rung" if higher else "kept for review"
        )
    words = VERDICTS.get(tried.verdict, tried.verdict.replace("_", " "))
    return f"{words}: {tried.error}" if tried.error else words


def _block(text: str) -> str:
    more = f"\n… ({len(text) - SHOWN_CHARACTERS:,} more characters: --json has them)"
    shown = safe(text[:SHOWN_CHARACTERS], lines=True) + (more if len(text) > SHOWN_CHARACTERS else "")
    return "\n".join(f"    {line}" for line in shown.split("\n"))
