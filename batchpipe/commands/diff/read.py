"""Read how two prompt versions or models answered to the same rows, for the command and a page alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.commands.call.options import DiffRequest
from batchpipe.commands.printing.gold import MADE_UP
from batchpipe.common.errors import BatchpipeError, UsageError
from batchpipe.engine.context import Context
from batchpipe.engine.gold.answered_gold import TrueValues, read_true_values
from batchpipe.engine.quality.answer_diff import (
    AnswerDiff,
    AnsweringModel,
    DiffSide,
    answering_models,
    diff_answers,
    side_columns,
)
from batchpipe.engine.resolved.commits import Commit
from batchpipe.engine.resolved.prompt_text import text_of_resolved
from batchpipe.engine.resolved.versions import (
    KnownVersion,
    find_version,
    known_versions,
    past_columns,
    read_version,
    resolve_version,
)
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Work
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The caller's side of a diff: `suggest` makes a command to type out of its words, `say` takes a message for the
    person.
    """

    suggest: Callable[[str], str]
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _LedgerContents:
    """What the ledger has to compare: versions, oldest first, those of them with answers, models, and past input
    columns.
    """

    versions: Sequence[KnownVersion]
    answered: Sequence[KnownVersion]
    models: Sequence[AnsweringModel]
    past: Mapping[str, str]


def read_diff(
    context: Context, file: PipelineFile, request: DiffRequest, params: Mapping[str, Any], asking: Asking
) -> AnswerDiff:
    """Return the diff that `request` asks for."""
    names = file.pipeline.names
    work = context.work()
    try:
        known = _read_ledger(context, work, names)
        models = [
            _find_model(known.models, name, where)
            for name, where in ((request.from_model, "--from-model"), (request.to_model, "--to-model"))
        ]
        before, after = _versions(known, file, request, asking)
        sides = [
            _side(context, work, file, known, params, version, model)
            for version, model in zip((before, after), models, strict=True)
        ]
        if sides[0].known == sides[1].known and sides[0].known and sides[0].model == sides[1].model:
            what = f"both sides are {sides[0].label}"
            raise UsageError(what, where="--from, --to", hint="Name two versions, or --from-model and --to-model.")
        gold = _gold(context, work, file, sides[1], asking)
        with context.database.reading(work) as session:
            return diff_answers(session, names, sides[0], sides[1], rows=request.rows, gold=gold)
    finally:
        work.close()


def _gold(context: Context, work: Work, file: PipelineFile, after: DiffSide, asking: Asking) -> TrueValues | None:
    """Return the true values of the rows; None, after a message, where gold cannot be read."""
    if file.pipeline.eval is not None and context.settings.emulator and context.emulator_answers(file) is None:
        asking.say(MADE_UP)
    try:
        return read_true_values(context, work, file, tuple(side_columns(after).values()))
    except BatchpipeError as error:
        asking.say(f"Not compared with gold: {error}")
        return None


def _read_ledger(context: Context, work: Work, names: Sequence[str]) -> _LedgerContents:
    """Read which versions, models and past input columns the ledger has."""
    pipelines = quote_list(names)
    with context.database.reading(work) as session:
        versions = known_versions(session, names)
        answered = {each for (each,) in session.rows(query("answered_versions", pipelines=pipelines))}
        models = answering_models(session, names)
        past = past_columns(session, names)
    with_answers = [each for each in versions if each.prompt_version in answered]
    return _LedgerContents(versions=versions, answered=with_answers, models=models, past=past)


def _find_model(models: Sequence[AnsweringModel], name: str | None, where: str) -> AnsweringModel | None:
    """Return the model that `name` means among those that answered; None without a name.

    A name is the one that is shown, or the model's alone. Raises UsageError for a model that never answered, and for
    a name that several providers have.
    """
    if name is None:
        return None
    found = [each for each in models if each.name == name] or [each for each in models if each.model == name]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(each.name for each in found)
        raise UsageError(
            f"several providers have a model {name!r} that answered", where=where, hint=f"Name one of them: {several}."
        )
    listed = ", ".join(each.name for each in models) or "none yet"
    raise UsageError(f"no answer comes from a model {name!r}", where=where, hint=f"Models that answered: {listed}.")


def _versions(
    known: _LedgerContents, file: PipelineFile, request: DiffRequest, asking: Asking
) -> tuple[KnownVersion | Commit, KnownVersion | Commit]:
    """Return the two versions: those that are named, else the newest with answers and the one before it.

    Where only models are named, both are the newest version.
    """
    name = file.pipeline.name
    asked = ((request.from_version, "--from"), (request.to_version, "--to"))
    before, after = (find_version(known.versions, file.root, each, where=at) if each else None for each, at in asked)
    if not known.answered and (before is None or after is None):
        hint = f"To get some: {asking.suggest(f'run {name}')}"
        raise UsageError(f"{name} has no answers yet: there is nothing to compare", where=name, hint=hint)
    after = after or known.answered[-1]
    if before is None and (request.from_model or request.to_model):
        before = after
    if before is None:
        earlier = [each for each in known.answered if _is_before(each, after, known)]
        if not earlier:
            label = after.version if isinstance(after, KnownVersion) else after.label
            what = f"no version before {label} has answers: there is nothing to compare with"
            see, run = asking.suggest(f"plan {name} --diff"), asking.suggest(f"run {name}")
            hint = f"Edit the prompt, see what that changes ({see}), then get the answers: {run}"
            raise UsageError(what, where=name, hint=hint)
        before = earlier[-1]
    return before, after


def _is_before(version: KnownVersion, after: KnownVersion | Commit, known: _LedgerContents) -> bool:
    """Return whether `version` is older than `after`. A commit that never ran is newer than any version that ran."""
    return not isinstance(after, KnownVersion) or known.versions.index(version) < known.versions.index(after)


def _side(
    context: Context,
    work: Work,
    file: PipelineFile,
    known: _LedgerContents,
    params: Mapping[str, Any],
    version: KnownVersion | Commit,
    model: AnsweringModel | None,
) -> DiffSide:
    """Return one side: a version of the ledger, or a commit that is resolved for it."""
    if isinstance(version, Commit):
        with context.source(file, params) as source:
            resolved = resolve_version(version, file, source, context.providers, past=known.past)
        same = [each for each in known.versions if each.prompt_version == resolved.version.prompt_version]
        return DiffSide(
            text=text_of_resolved(resolved, f"{version.label}, {same[0].version}" if same else version.label),
            full_schema=resolved.full_schema,
            known=same[0] if same else None,
            model=model,
            examples=resolved.version.queries,
        )
    with context.database.reading(work) as session:
        recorded = read_version(session, file.pipeline.names, version)
    examples = recorded.identity.queries
    return DiffSide(text=recorded.text, full_schema=recorded.full_schema, known=version, model=model, examples=examples)
