"""Choose the rung that `try` asks about a row, and the requests that it makes there."""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchpipe.common.errors import PipelineError, UsageError
from batchpipe.engine.resolved.bind import rungs_sql
from batchpipe.engine.resolved.panels import MemberRequest
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.resolved.rungs import fitted, fitted_text, rung_problems
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.providers import RungSettings
from batchpipe.sql.quoting import Sql, sql

OFF_THE_LADDER = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRung:
    """A rung with the settings of what is asked: once, or the `parts` of a rung that votes.

    `votes`: all members are asked, so that their vote is cast. `notes` say what is asked otherwise than a run would.
    """

    rung: int
    asked: tuple[RungSettings, ...]
    parts: tuple[MemberRequest, ...] = ()
    votes: bool = False
    notes: tuple[str, ...] = ()


def first_rung(resolved: Resolved, mask: int) -> int:
    """Return the first rung that a row may use; bit n-1 of `mask` stands for rung n."""
    return next((number for number in range(1, resolved.height + 1) if mask >> (number - 1) & 1), 1)


def sendable(resolved: Resolved, snapshot: Snapshot) -> Sql:
    """Return SQL for the rows of the input, without those whose files no rung can send."""
    if not resolved.templates.media:
        return snapshot.relation
    read = {name for when in resolved.whens if when for name in when.inputs}
    return sql(
        "(SELECT s.* FROM {relation} s SEMI JOIN (SELECT position FROM {typed} WHERE {rungs} <> 0) USING (position))",
        relation=snapshot.relation,
        typed=snapshot.typed(read),
        rungs=rungs_sql(resolved.whens),
    )


def fitting(resolved: Resolved, asked: AskedRung) -> AskedRung:
    """Return the same with room for no longer answers than the models write in a realtime call, and a note of that."""
    providers = resolved.providers
    own = tuple(fitted(providers, each, "realtime") for each in asked.asked)
    cut = [(each, given) for each, given in zip(own, asked.asked, strict=True) if each != given]
    notes = dict.fromkeys(fitted_text(providers.full_name(a), a.max_tokens, b.max_tokens) for a, b in cut)
    return replace(asked, asked=own, notes=tuple(notes))


def asked_on(resolved: Resolved, number: int) -> AskedRung:
    """Return what is asked on the rung `number`. Raises UsageError for a rung that there is not."""
    if number > resolved.height:
        raise UsageError(f"the ladder has no rung {number}", where="--rung", hint=f"It has 1 to {resolved.height}.")
    panel = resolved.panels.get(number)
    if panel is None:
        return AskedRung(rung=number, asked=(resolved.rungs[number - 1],))
    asked = tuple(resolved.rungs[each.seat - 1] for each in panel.parts)
    return AskedRung(rung=number, asked=asked, parts=panel.parts, votes=True)


def asked_of(resolved: Resolved, name: str) -> AskedRung:
    """Return what is asked of the model `name`, or `provider:model`.

    If a rung asks only this model, it is that rung with all its samples. If the model is a member of a panel, that
    member is asked alone. Otherwise the model is asked as rung 0, with the first rung's `max_tokens`.
    Raises PipelineError for a model that cannot be asked so.
    """
    providers = resolved.providers
    provider, model = providers.split(name)
    providers.of(provider, where="--model")
    ladder = [asked_on(resolved, number) for number in range(1, resolved.height + 1)]
    for each in sorted(ladder, key=lambda each: each.votes):
        if all((one.provider, one.model) == (provider, model) for one in each.asked):
            return each
    for each in ladder:
        for part, one in zip(each.parts, each.asked, strict=False):
            if (one.provider, one.model) == (provider, model):
                return AskedRung(rung=each.rung, asked=(one,), parts=(part,))
    settings = RungSettings(model=model, max_tokens=resolved.rungs[0].max_tokens, provider=provider)
    found = AskedRung(rung=OFF_THE_LADDER, asked=(settings,))
    (settings,) = fitting(resolved, found).asked
    output_format, sent = resolved.file.pipeline.output.format, resolved.sent_schema(settings)
    for problem in rung_problems(providers, settings, output_format=output_format, sent_schema=sent):
        if problem.level == "error":
            raise PipelineError(problem.what, where=f"--model {model}", hint=problem.hint)
    return found
