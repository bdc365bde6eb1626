"""Find the rungs that ask a row more than once: their members, the fields that they vote on, and the quorum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.common.errors import Problem
from batchpipe.common.given import toml_key
from batchpipe.pipeline.model import PipelineFile
from batchpipe.pipeline.sending import Member
from batchpipe.providers import Mode, RuleProblem, RungSettings
from batchpipe.providers.known import KnownProviders
from batchpipe.sql.conditions import OUTPUT_PREFIX, Condition
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import joined, quote_identifier, sql, type_sql

# What a vote adds to a row, with its DuckDB types: conditions and the output table have them beside the fields.
VOTE_COLUMNS = {
    "_agreement": "DOUBLE",
    "_votes": "STRUCT(model VARCHAR, part VARCHAR, valid BOOLEAN, document JSON)[]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRequest:
    """One request of a row on a rung that asks more than once.

    `place` is its number among the members, from 1, in the order of the file. `seat` is the number of its model and
    settings in `Resolved.rungs`. `part` tells requests apart that ask the same model with the same settings: "1", "2".
    """

    place: int
    seat: int
    part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A rung whose answers vote: its parts, the fields that they vote on, and the fewest valid answers."""

    parts: tuple[MemberRequest, ...]
    vote: tuple[str, ...]
    quorum: int | None

    @property
    def least_valid(self) -> int:
        """Return how many answers must be valid: the quorum, or more than half of all."""
        return self.quorum or len(self.parts) // 2 + 1


def settings_of(file: PipelineFile, providers: KnownProviders, member: Member, toml_path: str) -> RungSettings:
    """Return the settings of what is asked, with its provider. Raises PipelineError for a provider there is not."""
    provider, model = providers.split(member.model)
    known = providers.of(provider, where=file.where(toml_path))
    mode: Mode = "realtime" if file.in_realtime else member.mode or known.mode or "batch"
    return RungSettings(
        model=model, max_tokens=member.max_tokens or 0, settings=member.settings, provider=provider, mode=mode
    )


def members_of(file: PipelineFile, providers: KnownProviders) -> dict[int, list[RungSettings]]:
    """Return by the number of each rung that asks more than once what its members ask."""
    return {
        number: [settings_of(file, providers, each, f"[[models]] {number} panel") for each in rung.members]
        for number, rung in enumerate(file.pipeline.models, start=1)
        if rung.votes
    }


def seats(
    rungs: Sequence[RungSettings], members: Mapping[int, Sequence[RungSettings]]
) -> tuple[tuple[RungSettings, ...], dict[int, tuple[MemberRequest, ...]]]:
    """Return the settings of all that may be asked, and the parts of each rung that asks more than once.

    The first member of a panel has the number of its rung; the others have numbers above the ladder's.
    """
    every, found = list(rungs), {}
    for number, asked in members.items():
        own = {_same(asked[0], rooms=True): number}
        samples: dict[str, int] = {}
        parts = []
        for place, each in enumerate(asked, start=1):
            if _same(each, rooms=True) not in own:
                every.append(each)
                own[_same(each, rooms=True)] = len(every)
            sample = samples[_same(each)] = samples.get(_same(each), 0) + 1
            parts.append(MemberRequest(place=place, seat=own[_same(each, rooms=True)], part=str(sample)))
        found[number] = tuple(parts)
    return tuple(every), found


def _same(asked: RungSettings, *, rooms: bool = False) -> str:
    """Return a text that is the same for the same model with the same settings, and with `rooms` the same limits."""
    settings = sorted((name, repr(value)) for name, value in asked.settings.items())
    return repr((asked.provider, asked.model, settings, (asked.max_tokens, asked.mode) if rooms else ()))


def panels_of(
    file: PipelineFile, parts: Mapping[int, tuple[MemberRequest, ...]], full: Mapping[str, Any], problems: list[Problem]
) -> dict[int, Panel]:
    """Return the panels by the number of their rung; what is wrong with their votes is added to `problems`."""
    found = {}
    properties: Mapping[str, Any] = full.get("properties", {})
    for number, own in parts.items():
        rung = file.pipeline.models[number - 1]
        for name in rung.vote:
            if name not in properties:
                hint = f"Fields: {', '.join(properties)}."
                where = file.where(f"[[models]] {number} vote")
                problems.append(Problem(what=f"there is no field {name!r} to vote on", where=where, hint=hint))
        vote = rung.vote or tuple(name for name, node in properties.items() if can_be_voted_on(node))
        if not vote:
            hint = f'Write vote = ["{next(iter(properties), "field")}"]: answers that have the same value agree.'
            what = "no field has an enum, a const or the type boolean, so that there is nothing to vote on"
            problems.append(Problem(what=what, where=file.where(f"[[models]] {number}"), hint=hint))
        found[number] = Panel(parts=own, vote=vote, quorum=rung.quorum)
    return found


def can_be_voted_on(node: Any) -> bool:
    """Return whether the values of a field are few: an enum, a const, or true and false."""
    if not isinstance(node, Mapping):
        return False
    kinds = node.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds or []
    return "enum" in node or "const" in node or [each for each in kinds if each != "null"] == ["boolean"]


def vote_warnings(
    connection: Connection, file: PipelineFile, accepts: Sequence[Condition | None], checks: Mapping[str, Condition]
) -> list[RuleProblem]:
    """Return warnings about rungs whose votes say nothing. `accepts` are the conditions of the rungs."""
    return [
        *_same_samples(file),
        *_unused_votes(connection, file, accepts),
        *_checks_without_votes(connection, file, checks),
    ]


def _unused_votes(connection: Connection, file: PipelineFile, accepts: Sequence[Condition | None]) -> list[RuleProblem]:
    """Return a warning for each rung whose `accept` reads a vote that is never cast there, so that it never holds."""
    what = (
        "`accept` of rung {rung} reads {names}, which is NULL there: the rung asks once, so that no answer is accepted"
    )
    found = []
    for number, (rung, accept) in enumerate(zip(file.pipeline.models, accepts, strict=False), start=1):
        if accept is not None and not rung.votes and not _holds_without(connection, accept):
            hint = "Write samples or panel in the rung, or another accept."
            problem = what.format(rung=number, names=_votes_of(accept))
            found.append(RuleProblem(key=f"{number} accept", what=problem, hint=hint, level="warning"))
    return found


def _checks_without_votes(
    connection: Connection, file: PipelineFile, checks: Mapping[str, Condition]
) -> list[RuleProblem]:
    """Return a warning for each check that no answer of a rung without a vote can pass. Such answers are paid for and
    not used.

    A check that reads more than the vote may hold for some answers: nothing is said of it.
    """
    what = (
        "the check `{name}` reads {names}, which is NULL on rung {rung}: the rung asks once, so that no answer of it "
        "is valid"
    )
    single = next((number for number, rung in enumerate(file.pipeline.models, start=1) if not rung.votes), None)
    found = []
    for name, check in checks.items() if single is not None else ():
        if not check.inputs and check.outputs <= VOTE_COLUMNS.keys() and not _holds_without(connection, check):
            allowing = f'{toml_key(name)} = "_votes IS NULL OR ..."'
            hint = f"Allow for NULL: {allowing} under [output.checks]; or let the rung vote."
            problem = what.format(name=name, names=_votes_of(check), rung=single)
            found.append(RuleProblem(key=str(single), what=problem, hint=hint, level="warning"))
    return found


def _votes_of(condition: Condition) -> str:
    """Return in words what a condition reads of votes."""
    return " and ".join(sorted(condition.outputs & VOTE_COLUMNS.keys()))


def _holds_without(connection: Connection, condition: Condition) -> bool:
    """Return whether a condition may hold for an answer without a vote: it reads none, or it allows for NULL."""
    if not condition.outputs & VOTE_COLUMNS.keys():
        return True
    if condition.inputs or not condition.outputs <= VOTE_COLUMNS.keys():
        return False
    nulls = joined(
        ", ",
        (
            sql("NULL::{kind} AS {name}", kind=type_sql(kind), name=quote_identifier(OUTPUT_PREFIX + name))
            for name, kind in VOTE_COLUMNS.items()
        ),
    )
    row = connection.execute(sql("SELECT {truth} FROM (SELECT {nulls})", truth=condition.truth, nulls=nulls)).fetchone()
    return row is not None and bool(row[0])


def _same_samples(file: PipelineFile) -> list[RuleProblem]:
    """Return a warning for each rung whose samples a temperature of 0 makes mostly the same."""
    what = "the samples of `{model}` are mostly the same with temperature = 0, so that they agree whatever they say"
    hint = "Remove temperature, or ask the model once."
    found = []
    for number, rung in enumerate(file.pipeline.models, start=1):
        asked = [(each.model, repr(sorted(each.settings.items()))) for each in rung.members]
        same = [each for each, own in zip(rung.members, asked, strict=True) if asked.count(own) > 1]
        names = dict.fromkeys(each.model for each in same if each.settings.get("temperature") == 0)
        found += [
            RuleProblem(key=f"{number} temperature", what=what.format(model=name), hint=hint, level="warning")
            for name in names
        ]
    return found
