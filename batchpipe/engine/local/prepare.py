"""Prepare the local model at the start of a run or a plan: read what it can learn from, train it if that is due, and
decide whether it may answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from batchpipe.engine.context import Context
from batchpipe.engine.gold.answered_gold import TrueValues
from batchpipe.engine.ledger.events import add_event
from batchpipe.engine.local.choosing import LocalChoice, LocalVersion
from batchpipe.engine.local.drift import SetAside, find_drift
from batchpipe.engine.local.knowledge import SAME_TEXT, FoundLessons, fill_lessons, read_lessons
from batchpipe.engine.local.least import least_confidence
from batchpipe.engine.local.promise import NO_GOLD, GoldTest, Promise
from batchpipe.engine.local.versions import (
    KnownVersions,
    RecordedLocalVersion,
    read_model,
    read_versions,
    record_local_version,
    set_aside,
    usable_version,
)
from batchpipe.engine.resolved.local_rung import ResolvedLocalRung
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.local_model import library
from batchpipe.local_model.saved import load_model, save_model
from batchpipe.local_model.training import train
from batchpipe.store.database import Work
from batchpipe.store.queries import query

# The fewest answers to learn from. After that, the model is trained again when a tenth more have come in.
FIRST_LESSONS = 100
MORE = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedModel:
    """What there is to record: `values` are the columns of a version that was trained just now, `aside` the version
    that has drifted, `test` a test on gold that was made now.
    """

    values: Mapping[str, Any] | None = None
    aside: SetAside | None = None
    test: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What the local model is now: its version, trained just now or before, or why there is none in `says`.

    `record` is what there is to record of it, `gold` the true values that may test it, `tests` the earlier tests.
    """

    version: LocalVersion | None
    says: str
    record: PreparedModel
    gold: TrueValues | None
    tests: Sequence[Mapping[str, Any]]


def prepare_local(
    context: Context, work: Work, resolved: Resolved, snapshot: Snapshot
) -> tuple[LocalChoice, Learnt, PreparedModel]:
    """Return what chooses rows for the local rung, and what there is to record; its model is trained where that is due.

    Nothing is recorded: `record_prepared` does that in a run.
    Reads the ledger, `[eval] gold`. Writes the working tables of `fill_lessons`. Raises UsageError where the packages
    of the extra `local` are not installed.
    """
    learnt = learn(context, work, resolved, snapshot)
    version, promise = learnt.version, Promise(holds=True, says=NO_GOLD)
    if version is None:
        promise = Promise(holds=False, says=learnt.says)
    elif learnt.gold is not None:
        test = GoldTest(
            context=context, work=work, resolved=resolved, snapshot=snapshot, gold=learnt.gold, tests=learnt.tests
        )
        promise = test.of(version)
    choice = LocalChoice(
        resolved=resolved,
        snapshot=snapshot,
        version=version if promise.holds else None,
        says=promise.says,
        emulated=context.settings.emulator,
    )
    return choice, learnt, replace(learnt.record, test=promise.test)


def learn(
    context: Context,
    work: Work,
    resolved: Resolved,
    snapshot: Snapshot,
    *,
    compared: bool = False,
    trains: bool = True,
) -> Learnt:
    """Return the local model as it is now; it is trained where that is due, or where a version has seen rows that the
    truth is measured on by now. With `compared` these are the rows of `snapshot` too. Without `trains` it is the
    recorded version.

    Reads the ledger, `[eval] gold`. Writes the working tables of `fill_lessons`.
    """
    library.require()
    rung = resolved.local
    assert rung is not None
    found = fill_lessons(context, work, resolved, snapshot, compared=compared)
    lessons = found.count
    with context.database.reading(work) as session:
        known = read_versions(session, resolved)
        usable = usable_version(known, rung.shape)
        aside = find_drift(session, resolved, usable) if usable is not None else None
        if aside is not None:
            usable = None
        is_due = trains and _is_due(known, usable, rung.shape, lessons)
        stored = None if is_due or usable is None else read_model(session, resolved, usable.version)
    version = _loaded(work, resolved, usable, stored) if usable is not None and stored is not None else None
    if version is not None and _has_seen(work, version):
        is_due, version = trains and lessons >= FIRST_LESSONS, None
    elif version is not None and version.model.width != found.width:
        is_due = trains and lessons >= FIRST_LESSONS
    values = None
    if is_due:
        values, version = _train(work, resolved, known.next_number, lessons)
    says = "" if version is not None else _why_none(known, aside, rung, found)
    record = PreparedModel(values=values, aside=aside)
    return Learnt(version=version, says=says, record=record, gold=found.gold, tests=known.tests)


def _has_seen(work: Work, version: LocalVersion) -> bool:
    """Return whether a version was trained on a row that measures the truth by now, or on one of the same text.

    Reads `work.local_knowledge`, `work.local_gold`, `work.local_left_out`.
    """
    known = version.model.known
    keys = list(known.keys) if known is not None else []
    found = work.connection.execute(query("local_seen", same=SAME_TEXT), {"keys": keys}).fetchone()
    return bool(found and found[0])


def record_prepared(context: Context, work: Work, resolved: Resolved, prepared: PreparedModel, run_id: str) -> None:
    """Record a version that was trained just now, one that has drifted, and a test on gold.

    Writes `ledger.local_models`, `ledger.events`.
    """
    if prepared == PreparedModel():
        return
    with context.database.writing(work, run_id) as session:
        if prepared.aside is not None:
            set_aside(session, resolved, run_id, prepared.aside.version, prepared.aside.why)
        # Another process, such as an evaluation beside a run, may have trained a version meanwhile.
        if prepared.values is not None and read_versions(session, resolved).next_number == prepared.values["version"]:
            record_local_version(session, resolved, run_id, prepared.values)
        if prepared.test is not None:
            add_event(session, resolved.name, "local_tested", prepared.test, run_id=run_id)


def _is_due(known: KnownVersions, usable: RecordedLocalVersion | None, shape: str, lessons: int) -> bool:
    """Return whether the model is to be trained: there is none, a tenth more has come in, or a person contradicts it.

    A version that was set aside is followed by another once something has come in since.
    """
    if lessons < FIRST_LESSONS:
        return False
    if usable is not None:
        return known.contradicted or lessons >= usable.answers * MORE
    newest = known.newest
    return newest is None or newest.shape != shape or lessons > newest.answers


def _train(work: Work, resolved: Resolved, number: int, lessons: int) -> tuple[dict[str, Any], LocalVersion]:
    """Train the version `number` on the lessons. Reads `work.local_lessons`."""
    rung = resolved.local
    assert rung is not None
    given = read_lessons(work, rung)
    fields = {name: [json.loads(text) for text in values] for name, values in rung.fields.items()}
    model = train(
        given.texts,
        given.answers,
        given.weights,
        fields,
        seed=number,
        embeddings=given.embeddings,
        keys=given.keys,
    )
    arrays, document = save_model(model)
    values = {
        "version": number,
        "shape": rung.shape,
        "answers": lessons,
        "trained_on": model.rows,
        "accuracy": model.out_of_fold.accuracy,
        "document": document,
        "arrays": arrays,
    }
    # It answers as it will when it is loaded.
    return values, _version(work, resolved, number, load_model(arrays, document))


def _loaded(work: Work, resolved: Resolved, usable: RecordedLocalVersion, stored: tuple[str, bytes]) -> LocalVersion:
    document, arrays = stored
    return _version(work, resolved, usable.version, load_model(arrays, document))


def _version(work: Work, resolved: Resolved, number: int, model: Any) -> LocalVersion:
    """Return a version with how often it is expected to agree on the rows that `accept` holds for."""
    least = least_confidence(work.connection, resolved)
    return LocalVersion(number=number, model=model, expected=model.out_of_fold.agreement(least).low)


def _why_none(known: KnownVersions, aside: SetAside | None, rung: ResolvedLocalRung, found: FoundLessons) -> str:
    """Return why no version may answer now."""
    if aside is not None:
        return aside.why
    newest = known.newest
    if newest is not None and newest.shape == rung.shape and newest.version in known.set_aside:
        return f"local:v{newest.version} is set aside, and nothing has come in since to learn from"
    if found.count < FIRST_LESSONS:
        says = f"{found.count:,} of the {FIRST_LESSONS} answers that the first version learns from are there"
        if found.unread and rung.embedding is not None:
            rows = f"{found.unread:,} answered rows teach" if found.unread > 1 else "1 answered row teaches"
            says += f"; {rows} nothing: {rung.embedding.name} is not a list of {found.width:,} finite numbers there"
        return says
    return "nothing has come in since the last version to learn from"
