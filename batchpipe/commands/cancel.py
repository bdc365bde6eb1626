"""Run `batchpipe cancel`: pause a pipeline and ask the provider to stop its batches. Finished results are kept.

Batches of the pipeline's evaluations and of their judges are canceled as well. The command takes no lock: a waiting
`run` or `eval` sees the pause the next time it looks, and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from batchpipe.commands.call.call import Call
from batchpipe.commands.call.failure import failure
from batchpipe.commands.printing.text import count
from batchpipe.common.errors import ProviderError, UsageError
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.events import OpenBatch, add_event, batches_of_families, is_paused
from batchpipe.engine.ledger.raw_folder import RawFolder
from batchpipe.engine.ledger.renames import record_rename, with_histories
from batchpipe.engine.replay.where_free import take_in_where_free
from batchpipe.pipeline.evaluations import is_evaluation
from batchpipe.pipeline.model import PipelineFile
from batchpipe.providers import NotSentError, Provider, RefusedError, UnavailableError
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Work
from batchpipe.store.queries import query

Outcome = Literal["canceling", "ended", "asked_before", "failed"]

CANCELABLE = ("in_flight", "canceling")
LOOKS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelReply:
    """What the provider said about one batch; `message` has its words where it refused or could not be reached.
    `pipeline` is the name that the ledger has it under: that of the pipeline, or of its evaluation.

    "ended": the batch was over already. "asked_before": an earlier request to cancel was accepted, so this call did not
    ask again.
    """

    pipeline: str
    chunk_id: str
    batch_id: str
    requests: int
    outcome: Outcome
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Canceled:
    """The result for one pipeline: `newly` is whether this call paused it; `unsure` counts chunks that may have no
    batch.
    """

    pipeline: str
    newly: bool
    batches: Sequence[CancelReply]
    unsure: int
    error: ProviderError | None = None


def cancel(call: Call, arguments: Sequence[str]) -> int:
    """Pause the pipelines and cancel their batches in flight; return 3 where a batch could not be canceled.

    To repeat the command changes nothing: a batch that accepted the request is not asked again.
    """
    if not arguments:
        hint = f"Name it: {call.suggest('cancel NAME')}"
        raise UsageError("no pipeline is named", where="the command line", hint=hint)
    files, single = call.pipelines(arguments)
    with call.context() as context:
        files = with_histories(context.database, context.work, files)
        work = context.work()
        try:
            found = [cancel_pipeline(context, work, file, call.say) for file in files]
        finally:
            work.close()
    if call.json:
        call.emit([_as_json(each) for each in found], single)
    else:
        for each in found:
            if not call.quiet or each.error is not None or each.unsure:
                call.out(_text(each, call.suggest))
    errors = [each.error for each in found if each.error is not None]
    for error in errors if not call.json else ():
        call.complain(error)
    return errors[0].exit_code if errors else 0


def cancel_pipeline(context: Context, work: Work, file: PipelineFile, say: Callable[[str], None]) -> Canceled:
    """Pause the pipeline of `file` and its evaluations in flight, then ask the provider to end each batch in flight.
    Each intent is recorded before the request, each outcome after it.

    Batches that a run submits meanwhile are looked for again. An error of the provider is returned, not raised.
    Reads `ledger.batches`, `ledger.events`. Writes `ledger.events`. Raises DatabaseError.
    """
    names = _names(file)
    newly = _pause(context, work, names, file)
    take_in_where_free(context, work, names)
    done: dict[str, CancelReply] = {}
    error: ProviderError | None = None
    for _ in range(LOOKS):
        batches, answered = _in_flight(context, work, names)
        for evaluation in sorted({each.pipeline for each in batches} - set(names)):
            _pause(context, work, [evaluation])
        fresh = [each for each in batches if each.chunk_id not in done and each.state in CANCELABLE]
        done |= {each.chunk_id: _asked(each, "asked_before") for each in fresh if each.chunk_id in answered}
        fresh = [each for each in fresh if each.chunk_id not in answered]
        if not fresh:
            break
        say(f"canceling {count(len(fresh), 'batch', 'batches')} of {file.pipeline.name}")
        askable, unaskable = _askable(context, file, fresh)
        done |= {each.chunk_id: _asked(each, "failed", problem.what) for each, problem in unaskable}
        error = error or next((problem for _, problem in unaskable), None)
        if askable:
            done |= _cancel_each(context, work, askable)
    batches, _ = _in_flight(context, work, names)
    unsure = sum(each.state not in (*CANCELABLE, "ended", "asking") for each in batches)
    return Canceled(
        pipeline=file.pipeline.name,
        newly=newly,
        batches=list(done.values()),
        unsure=unsure,
        error=error or _failure(file.pipeline.name, list(done.values())),
    )


def _askable(
    context: Context, file: PipelineFile, batches: Sequence[OpenBatch]
) -> tuple[list[tuple[OpenBatch, Provider]], list[tuple[OpenBatch, ProviderError]]]:
    """Return `batches` with the provider that each was sent to, and those that nobody can be asked about, with why."""
    providers = context.providers_of(file)
    askable: list[tuple[OpenBatch, Provider]] = []
    unaskable: list[tuple[OpenBatch, ProviderError]] = []
    for each in batches:
        try:
            askable.append((each, providers.of(each)))
        except ProviderError as problem:
            unaskable.append((each, problem))
    return askable, unaskable


def _names(file: PipelineFile) -> list[str]:
    return file.pipeline.names


def _pause(context: Context, work: Work, names: Sequence[str], file: PipelineFile | None = None) -> bool:
    """Record the pause of a pipeline or an evaluation under the first of its `names`, and the link of a rename that
    its `file` gives; return False where it is paused already.

    Writes `ledger.events`.
    """
    with context.database.reading(work) as session:
        if is_paused(session, names):
            return False
    with context.database.writing(work, None) as session:
        if is_paused(session, names):
            return False
        if file is not None:
            record_rename(session, file, None)
        add_event(session, names[0], "paused", {"by": "cancel"})
    return True


def _in_flight(context: Context, work: Work, names: Sequence[str]) -> tuple[list[OpenBatch], set[str]]:
    """Return the open chunks without saved results, and the ids of those whose batch accepted a request to cancel."""
    with context.database.reading(work) as session:
        found = batches_of_families(session, names)
        pipelines = quote_list(sorted({*names, *(each.pipeline for each in found)}))
        answered = session.rows(query("cancel_answered", pipelines=pipelines))
    raw = RawFolder(path=context.database.folder / "raw")
    in_flight = [each for each in found if raw.results(each.chunk_id) is None]
    return in_flight, {chunk_id for (chunk_id,) in answered}


def _cancel_each(context: Context, work: Work, batches: Sequence[tuple[OpenBatch, Provider]]) -> dict[str, CancelReply]:
    """Ask for the end of each batch. All intents are recorded first; no session is open during a call.

    Writes `ledger.events`.
    """
    _record(context, work, [(each, "cancel_requested", {"batch_id": each.batch_id}) for each, _ in batches])
    done: dict[str, CancelReply] = {}
    for each, provider in batches:
        asked = _ask(provider, each)
        kind = "cancel_failed" if asked.outcome == "failed" else "cancel_answered"
        data = {"batch_id": asked.batch_id, "outcome": asked.outcome, "message": asked.message}
        _record(context, work, [(each, kind, data)])
        done[each.chunk_id] = asked
    return done


def _ask(provider: Provider, batch: OpenBatch) -> CancelReply:
    """Ask the provider to cancel one batch, and return the outcome."""
    assert batch.batch_id is not None
    try:
        state = provider.cancel(batch.batch_id)
        return _asked(batch, "ended" if state.ended else "canceling")
    except RefusedError as refused:
        return _ended_before(provider, batch, refused)
    except (NotSentError, UnavailableError) as error:
        return _asked(batch, "failed", str(error))


def _ended_before(provider: Provider, batch: OpenBatch, refused: RefusedError) -> CancelReply:
    """Return the outcome for a batch that refused to be canceled. A batch that is over refuses: that is no failure."""
    assert batch.batch_id is not None
    place = f" (workspace {batch.workspace or 'unknown'}, made with key {batch.key_hash})"
    words = refused.message + (place if refused.kind == "not_found" else "")
    if refused.kind != "invalid":
        return _asked(batch, "failed", words)
    try:
        ended = provider.poll(batch.batch_id).ended is not None
    except (RefusedError, NotSentError, UnavailableError):
        ended = False
    return _asked(batch, "ended") if ended else _asked(batch, "failed", words)


def _asked(batch: OpenBatch, outcome: Outcome, message: str | None = None) -> CancelReply:
    return CancelReply(
        pipeline=batch.pipeline,
        chunk_id=batch.chunk_id,
        batch_id=batch.batch_id or "",
        requests=batch.requests,
        outcome=outcome,
        message=message,
    )


def _record(
    context: Context,
    work: Work,
    events: Sequence[tuple[OpenBatch, str, Mapping[str, Any]]],
) -> None:
    with context.database.writing(work, None) as session:
        for batch, kind, data in events:
            add_event(session, batch.pipeline, kind, data, chunk_id=batch.chunk_id)


def _failure(name: str, asked: Sequence[CancelReply]) -> ProviderError | None:
    """Return the error for batches that could not be canceled; None where all were."""
    failed = [each for each in asked if each.outcome == "failed"]
    if not failed:
        return None
    what = f"{len(failed)} of {count(len(asked), 'batch', 'batches')} could not be canceled: {failed[0].message}"
    hint = "The pipeline is paused nevertheless. Remove the cause, then run the same command again."
    return ProviderError(what, where=name, hint=hint)


def _as_json(found: Canceled) -> dict[str, Any]:
    return {
        "pipeline": found.pipeline,
        "paused": True,
        "newly_paused": found.newly,
        "batches": [asdict(each) for each in found.batches],
        "unsure": found.unsure,
        "error": None if found.error is None else failure(found.error),
    }


def _text(found: Canceled, suggest: Callable[[str], str]) -> str:
    lines = [f"{found.pipeline}: {'paused' if found.newly else 'was paused already'}"]
    words = {
        "canceling": "being canceled",
        "ended": "already ended",
        "asked_before": "asked before, not ended yet",
        "failed": "not canceled",
    }
    for outcome, phrase in words.items():
        of_kind = [each for each in found.batches if each.outcome == outcome]
        if of_kind:
            requests = sum(each.requests for each in of_kind)
            lines.append(f"  {count(len(of_kind), 'batch', 'batches')} with {count(requests, 'request')} {phrase}")
    if not found.batches:
        lines.append("  nothing was in flight")
    if found.unsure:
        lines.append(f"  {count(found.unsure, 'submit')} of unknown outcome left alone: the next run searches for it")
    resume = suggest(f"run {found.pipeline} --resume")
    if not found.batches:
        return "\n".join([*lines, f"  To go on: {resume}"])
    lines.append("  What is finished is kept and paid for; what was not begun costs nothing and is due again.")
    evaluated = sum(each.requests for each in found.batches if is_evaluation(each.pipeline))
    if evaluated:
        again = suggest(f"eval {found.pipeline}")
        lines.append(
            f"  {count(evaluated, 'request')} of them are of an evaluation. To collect them and go on: {again}"
        )
    if all(is_evaluation(each.pipeline) for each in found.batches):
        return "\n".join([*lines, f"  To let the pipeline run again: {resume}"])
    lines.append(f"  To collect it and go on: {resume}")
    lines.append(f"  To collect it and send nothing new: {suggest(f'run {found.pipeline} --resume --no-new')}")
    return "\n".join(lines)
