"""The votes of a row in `show`: each member of a rung that asked more than once, and the answer that won there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from batchpipe.commands.printing.text import moment, money, pairs, safe
from batchpipe.commands.printing.votes import member_names, vote_agreement_text
from batchpipe.html.blocks import Block, Cell, Heading, Pairs, Table
from batchpipe.pipeline.model import PipelineFile
from batchpipe.providers.known import with_provider
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

STATE_WORDS = {"valid": "valid", "failed": "failed in the end", "retry": "to be asked again"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownMember:
    """What a member of a rung that votes said of the row.

    `part` tells the samples of one model apart. `state` is valid, failed (in the end), or retry before the vote is
    cast. `winner`: most agree with its answer. `document` is its answer as JSON text. `cost_usd` is that of its last
    request, and 0 where the row shares an answer.
    """

    model: str
    provider: str | None
    part: str
    state: str
    valid: bool
    winner: bool
    document: str | None
    cost_usd: Decimal | None
    custom_id: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowVote:
    """The vote of a row on one rung, or the rung's members before the vote is cast: then `cast_at` is None.

    `name` is what people call the rung. `agreement` is the share of the valid answers that agree with that of the
    winner; None without a quorum. `quorum` is that of the file as it is now.
    """

    rung: int
    name: str
    agreement: float | None
    quorum: int | None
    cast_at: datetime | None
    members: Sequence[ShownMember]


def read_votes(session: Session, file: PipelineFile, key: str) -> list[RowVote]:
    """Return the votes that led to the newest vote of the row called `key`, one for each rung that voted, and last the
    members that have not voted since.

    A row that was never asked more than once has none. Reads `ledger.votes`, `ledger.decisions`,
    `ledger.part_decisions`, `ledger.requests`, `ledger.results`.
    """
    pipelines = quote_list(file.pipeline.names)
    cast = session.dictionaries(query("members_of_vote", pipelines=pipelines), {"key": key})
    seq = cast[-1]["seq"] if cast else 0
    waiting = session.dictionaries(query("members_without_vote", pipelines=pipelines), {"key": key, "seq": seq})
    # Where members are asked anew, the votes before are of another question.
    found = [each for each in cast if not waiting or each["started"] == waiting[0]["started"]]
    by_rung = [
        list(members) for _, members in groupby([*found, *waiting], lambda each: (each["cast_at"], each["rung"]))
    ]
    return [_vote(file, members) for members in by_rung]


def _vote(file: PipelineFile, found: Sequence[Mapping[str, Any]]) -> RowVote:
    """Return the vote of the members of one rung."""
    members = [ShownMember(**{name: each[name] for name in ShownMember.__dataclass_fields__}) for each in found]
    number = found[0]["rung"]
    rungs = file.pipeline.models
    rung = rungs[number - 1] if number <= len(rungs) and rungs[number - 1].votes else None
    return RowVote(
        rung=number,
        name=rung.name if rung is not None else "",
        agreement=found[0]["agreement"],
        quorum=(rung.quorum or len(rung.members) // 2 + 1) if rung is not None else None,
        cast_at=found[0]["cast_at"],
        members=members,
    )


def vote_text(found: RowVote) -> str:
    """Return the vote for a person. Nothing in it steers the terminal."""
    lines = [_title(found).lower(), pairs([("agreement", _agreement(found)), ("cast", moment(found.cast_at))])]
    for name, each in zip(member_names(_named(found)), found.members, strict=True):
        error = f": {safe(each.error)}" if each.error and not each.valid else ""
        lines.append(f"  {safe(name)}: {_state(each)}{error}; {money(each.cost_usd)}")
        if each.document is not None:
            lines.append(f"    {safe(each.document)}")
    return "\n".join(lines)


def vote_blocks(found: RowVote) -> list[Block]:
    """Return the vote as blocks of a page."""
    rows = [
        (
            Cell(text=name, state="green" if each.winner else "blue" if each.valid else "red", strong=each.winner),
            _state(each),
            Cell(text=each.document, code=True) if each.document is not None else each.error or "",
            money(each.cost_usd),
        )
        for name, each in zip(member_names(_named(found)), found.members, strict=True)
    ]
    header = ("member", "its answer is", "answer", "cost")
    return [
        Heading(text=_title(found)),
        Pairs(found=[("agreement", _agreement(found))]),
        Table(title="members", header=header, rows=rows, right=(3,)),
    ]


def _title(found: RowVote) -> str:
    return f"Vote on rung {found.rung}" + (f", {found.name}" if found.name else "")


def _agreement(found: RowVote) -> str:
    if found.cast_at is None:
        return "not cast yet: it waits for the other members"
    return vote_agreement_text(found.members, found.agreement, found.quorum)


def _state(member: ShownMember) -> str:
    return STATE_WORDS.get(member.state, member.state) + (", wins" if member.winner else "")


def _named(found: RowVote) -> list[ShownMember]:
    """Return the members with the providers in their names, where these are not the same for all."""
    providers = {each.provider for each in found.members}
    if len(providers) < 2:
        return list(found.members)
    return [replace(each, model=with_provider(each.provider, each.model)) for each in found.members]
