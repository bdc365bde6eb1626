"""Tell from the ledger, never from the source, whether a pipeline is complete, so that others may read its output
table.

The end of each run records whether anything was left, and what the pipeline's files were. Between runs the ledger knows
what is in flight, what is to be tried again, and what waits for a person.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any, Literal

from batchpipe.chain.chain import Chain, Upstream
from batchpipe.engine.ledger.events import is_paused, open_batches, standing_reviews
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query
from batchpipe.template.compile import PROMPTS

SHOWN_KEYS = 3
PAUSED = "it is paused by `batchpipe cancel`"
Wait = Literal["none", "in_flight", "due", "review"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """What a pipeline that reads another one waits for there.

    `wait` is "none" where the other one is complete; `why` says what is left of it, `hint` the command that goes on.
    `failed` and `failed_keys` are rows that ended failed: they count as done, and are not in the table.
    """

    pipeline: str
    wait: Wait
    why: str = ""
    hint: str = ""
    failed: int = 0
    failed_keys: Sequence[str] = ()

    @property
    def text(self) -> str:
        """Return what is waited for, in a sentence."""
        return f"it waits for {self.pipeline}: {self.why}"


def end_of(resolved: Resolved, status: str, rows: Mapping[str, int], limited_by: str | None) -> dict[str, Any]:
    """Return what the end of a run records for the pipelines that read this one's table.

    `rows` counts its rows as they stand, `limited_by` is the option that left some of them out.
    """
    file, left = resolved.file, rows.get("due", 0) + rows.get("pending", 0)
    complete = status in ("done", "failed_rows") and not left and limited_by != "--where"
    texts = {name: text for name, text in resolved.templates.sources if _template(file, name).is_file()}
    return {
        "complete": complete,
        "left": left,
        "failed": rows.get("failed", 0),
        **({"limited_by": limited_by} if limited_by and not complete else {}),
        "definition": _definition(file),
        "templates": {name: _hash(text) for name, text in texts.items()},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Completenesses:
    """What the pipelines of one project wait for, as one session reads it. Each is looked at once, whoever reads it.

    `chain` knows who reads whom, `known` has what was looked at.
    """

    session: Session
    chain: Chain
    known: dict[tuple[str, bool], Completeness] = field(default_factory=dict)

    def of(self, upstream: Upstream, *, reviewed: bool) -> Completeness:
        """Return what is left to be waited for of `upstream`; with `reviewed` also rows that wait for a person.

        A pipeline is complete only where those that it reads are, and where they have decided nothing since it was run.
        Reads `ledger.events`, `ledger.batches`, `ledger.row_state`, the valid reviews.
        """
        key = (upstream.name, reviewed)
        if key not in self.known:
            self.known[key] = _completeness(self, upstream, reviewed=reviewed)
        return self.known[key]


def _completeness(others: Completenesses, upstream: Upstream, *, reviewed: bool) -> Completeness:
    session, name = others.session, upstream.name
    if upstream.file is None:
        return _waits(name, "due", "its file has mistakes", f"To see them: batchpipe check {name}")
    names = upstream.file.pipeline.names
    going_on = f"To run it first: batchpipe run {name}"
    found = session.rows(query("last_look_of_run", pipelines=quote_list(names)))
    kind, data, seq = (found[0][0], json.loads(found[0][1] or "{}"), found[0][2]) if found else (None, {}, 0)
    batches = open_batches(session, names)
    if batches:
        requests = sum(each.requests for each in batches)
        what = f"{requests:,} request{'s are' if requests > 1 else ' is'} in flight"
        if is_paused(session, names):  # nobody collects them until it goes on
            return _waits(name, "due", f"{what}, and {PAUSED}", f"To go on: batchpipe run {name} --resume")
        return _waits(name, "in_flight", what, f"To collect them: batchpipe run {name}")
    above = _above(others, upstream.file)
    if above is not None and above.wait == "in_flight":
        return above
    if is_paused(session, names):
        return _waits(name, "due", PAUSED, f"To go on: batchpipe run {name} --resume")
    if kind is None:
        return _waits(name, "due", "it was never run", going_on)
    again = session.one(query("undone_since", pipelines=quote_list(names)), {"seq": seq})[0]
    why = _left(kind, data) or _changed(upstream.file, data)
    why = why or (f"{again:,} of its rows {'are' if again > 1 else 'is'} to be tried again" if again else "")
    if why:
        return _waits(name, "due", why, going_on)
    if above is not None:
        return above
    if reviewed:
        waiting = query("rows_to_review", pipelines=quote_list(names), reviewed=standing_reviews(session, names))
        left = session.one(waiting)[0]
        if left:
            what = f"{left:,} of its rows {'wait' if left > 1 else 'waits'} for a person"
            return _waits(name, "review", what, f"To review them: batchpipe review {name}")
    failed = data.get("failed") or 0
    shown = session.rows(query("failed_keys", pipelines=quote_list(names)), {"count": SHOWN_KEYS}) if failed else ()
    return Completeness(pipeline=name, wait="none", failed=failed, failed_keys=[row[0] for row in shown])


def _above(others: Completenesses, file: PipelineFile) -> Completeness | None:
    """Return why a pipeline that was run to its end is not complete: because of one that it reads; else None."""
    wanted, name = file.pipeline.input.upstream, file.pipeline.name
    for each in others.chain.reads(file).upstream if wanted != "any" else ():
        found = others.of(each, reviewed=wanted == "reviewed")
        if found.wait != "none":
            return _waits(name, found.wait, found.text, found.hint)
        names = {
            "own": quote_list(file.pipeline.names),
            "read": quote_list(each.file.pipeline.names if each.file else []),
        }
        if others.session.one(query("decided_since_run", **names))[0]:
            why = f"it was not run since {each.name} has new answers"
            return _waits(name, "due", why, f"To run it first: batchpipe run {name}")
    return None


def _waits(name: str, wait: Wait, why: str, hint: str) -> Completeness:
    return Completeness(pipeline=name, wait=wait, why=why, hint=hint)


def _left(kind: str, data: Mapping[str, Any]) -> str:
    """Return what the last run left, in words; "" where it left nothing. An older ledger has its status alone."""
    status = data.get("status")
    if kind != "run_ended" or status == "interrupted":
        return "its last run was interrupted"
    if data.get("limited_by"):
        return f"its last run was limited by {data['limited_by']}"
    if status == "gate":
        return f"its last run stopped at a gate: {_first_line(data) or 'it needs a person'}"
    if status == "error":
        return f"its last run was stopped by an error: {_first_line(data)}".rstrip(": ")
    left = data.get("left") or 0
    if status == "pending" or left:
        return f"{left:,} of its rows {'are' if left > 1 else 'is'} due" if left else "some of its rows are due"
    return ""


def _first_line(data: Mapping[str, Any]) -> str:
    """Return the first line of the message that a run ended with."""
    return str(data.get("message") or "").partition("\n")[0]


def _changed(file: PipelineFile, data: Mapping[str, Any]) -> str:
    """Return that the pipeline's files are others than those of its last run; "" where they are the same."""
    if data.get("definition") not in (None, _definition(file)):
        return "its file was changed since its last run"
    for name, recorded in (data.get("templates") or {}).items():
        try:
            text = _template(file, name).read_text(encoding="utf-8-sig")
        except (OSError, ValueError):
            text = ""
        if _hash(text.replace("\r\n", "\n")) != recorded:
            return f"the template {PROMPTS}/{name} was changed since its last run"
    return ""


def _definition(file: PipelineFile) -> str:
    """Return the hash of what a pipeline file says of its rows and its answers."""
    pipeline = file.pipeline
    asked = (pipeline.input.model_dump_json(), pipeline.prompt.model_dump_json(), pipeline.output.model_dump_json())
    return _hash("\n".join((file.query, *asked, json.dumps(file.schema_content, sort_keys=True))))


def _template(file: PipelineFile, name: str) -> Path:
    return file.root / PROMPTS / name


def _hash(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
