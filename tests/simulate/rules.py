"""What must hold after every step, told from the provider's side and from the files, not by the code that is tried."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow

from .computer import ENDLESS, KEY, Called
from .disk import let_go, unwatched
from .project import FOLLOWED, FOLLOWERS, LABELS, LEAST_SCORE, NAMES, Project
from .provider import Sale

BUG = 70
WAITING = re.compile(r"^([a-z]+) cannot run now and has \d+ batch(?:es)? open: the results of", re.MULTILINE)
TRACEBACK = re.compile(r"Traceback \(most recent call last\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule that does not hold: its name, and what shows it."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


class ViolatedError(BaseException):
    """A rule does not hold. No handler of the code that is tried may take it."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


@dataclass(slots=True)
class Licences:
    """What a documented rule lets be bought again: `everything` counts orders to redo, `texts` single questions."""

    everything: list[float] = field(default_factory=list)
    places: set[int] = field(default_factory=set)

    def of(self, sale: Sale, earlier: Sale) -> bool:
        """Return whether `sale` may be bought although `earlier` was."""
        return earlier.place in self.places or any(earlier.at <= each <= sale.at for each in self.everything)


def of_words(called: Called) -> Iterator[Violation]:
    """Yield what is wrong with how a command ended and with what it printed."""
    if called.code == ENDLESS:
        yield Violation(rule="every open thing has an end", what=f"{called}: it did not end")
    if called.code == BUG:
        yield Violation(rule="no exit 70", what=f"{called}: {called.talk[-700:]}")
    text = called.out + called.talk
    if TRACEBACK.search(text):
        yield Violation(rule="no traceback", what=f"{called}: {text[-700:]}")
    if KEY in text:
        yield Violation(rule="no secret", what=f"{called} prints the key")


def of_secrets(root: Path) -> Iterator[Violation]:
    """Yield the files below `root` that hold the key."""
    with unwatched():
        for path in root.rglob("*"):
            if path.is_file() and KEY.encode() in path.read_bytes():
                yield Violation(rule="no secret", what=f"{path.relative_to(root)} holds the key")


def of_sales(
    new: Sequence[Sale], all_sales: Sequence[Sale], project: Project, licences: Licences
) -> Iterator[Violation]:
    """Yield the sales that bought again what was bought before.

    What was bought is an answer that is valid today, or a request whose answer is still to come.
    """
    for sale in new:
        bought = 0
        for earlier in all_sales:
            if earlier.place >= sale.place or earlier.identity != sale.identity or licences.of(sale, earlier):
                continue
            in_flight = earlier.place in sale.in_flight_then
            if in_flight or (earlier.ended_well and project.valid(earlier.text, earlier.answer)):
                bought += 1
                if bought < project.most_samples:  # a rung that asks several times has so many answers
                    continue
                how = "in flight" if in_flight else "answered"
                what = f"{sale.text!r} of {sale.model} is sold again ({sale.batch_id}), {how} in {earlier.batch_id}"
                yield Violation(rule="nothing is bought twice", what=what)
                break


@contextmanager
def opened(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a copy of the database, so that a journal beside it is not folded in."""
    let_go()
    with unwatched(), duckdb.connect(str(path), read_only=True) as connection:
        yield connection


def of_output(path: Path, project: Project, sales: Sequence[Sale], *, judged: bool) -> Iterator[Violation]:
    """Yield the current rows of the output that today's file does not make of a stored answer.

    Where the run looked at some rows alone, the others are not `judged` by today's checks and types.
    """
    if not path.exists():
        return
    with opened(path) as connection:
        names = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        twice = connection.execute(
            "SELECT pipeline, key_id::VARCHAR, seq FROM ledger.decisions GROUP BY ALL HAVING count(*) > 1"
        ).fetchall()
        if twice:
            yield Violation(rule="a commit decides a row once", what=f"decided twice: {twice[:3]}")
        if project.table not in names:
            return
        cursor = connection.execute(f"SELECT * FROM {project.table} WHERE _current")
        columns = [each[0] for each in cursor.description or ()]
        rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    keys = [str(row["id"]) for row in rows]
    if len(keys) > len(set(keys)):
        yield Violation(rule="a row is in the output once", what=f"the output has the keys {sorted(keys)}")
    by_id = {sale.custom_id: sale for sale in sales if sale.custom_id}
    # A realtime call tells the provider no custom id: its answer is found by what was asked.
    at_once: dict[str, list[Sale]] = {}
    for sale in sales:
        if not sale.custom_id:
            at_once.setdefault(sale.text, []).append(sale)
    for row in rows:
        key = int(Decimal(str(row["id"])))
        if str(row["_model"]).startswith("local:"):
            yield from _of_local(row, key, project, by_id)
            continue
        asked = project.asked(key) if key in project.rows else ""
        own = by_id.get(row["_custom_id"])
        answers: list[Sale | None] = [own] if own else [*at_once.get(asked, [])] or [None]
        found = [list(_of_row(row, key, project, each, judged=judged)) for each in answers]
        yield from min(found, key=len)


def _of_local(row: Mapping[str, Any], key: int, project: Project, by_id: Mapping[str, Sale]) -> Iterator[Violation]:
    """Yield what is wrong with a current row that the local model answered: nothing was sold for it."""
    rule = "a current row of the local model is one of today's input, and free"
    said = any(place in project.reviewed or place in project.perhaps for place in project.seen(key))
    if key not in project.rows or row["label"] not in LABELS:
        yield Violation(rule=rule, what=f"row {key} is current with {row['label']!r}")
    if row["_cost_usd"] or row["_batch_id"] or row["_custom_id"] in by_id:
        yield Violation(rule=rule, what=f"row {key} was sold: {row}")
    if not said and project.check and row["score"] <= LEAST_SCORE:
        yield Violation(rule=rule, what=f"row {key} is current, and fails a check with {row['score']}")


def _of_row(
    row: Mapping[str, Any], key: int, project: Project, sale: Sale | None, *, judged: bool
) -> Iterator[Violation]:
    rule = "a current row is what today's file makes of an answer"
    if key not in project.rows:
        yield Violation(rule=rule, what=f"row {key} is current, but not in the input")
        return
    seen = project.seen(key)
    looked_at = any(place in project.reviewed or place in project.perhaps for place in seen)
    if looked_at:
        wanted, shown_label = project.reviewed.get(seen[0]), str(row["label"])
        if wanted is not None and wanted != shown_label:
            yield Violation(rule=rule, what=f"row {key} shows {shown_label!r}, a person said {wanted!r}")
        return  # what a person has seen stays, whatever it was asked for
    if project.lax and (sale is None or not sale.custom_id):
        return  # what was kept may be an answer to an earlier question, which is not found by today's
    if sale is None:
        if key not in project.kept:
            yield Violation(rule=rule, what=f"row {key} is current, but its answer was never sold")
        return
    if sale.text != project.asked(key) and not project.may_keep(sale.text, key):
        yield Violation(rule=rule, what=f"row {key} is current for {sale.text!r}, today {project.asked(key)!r}")
        return
    fields = project.fields(sale.answer)
    if fields is None and (not judged or project.lax):
        return
    if fields is None:
        yield Violation(rule=rule, what=f"row {key} is current with {sale.answer!r}, which is not valid today")
        return
    shown = {name: row.get(name) for name in fields}
    if project.score_column:
        shown["score"] = round(float(str(shown["score"])), 2)
    if shown != fields:
        yield Violation(rule=rule, what=f"row {key} shows {shown}, its answer says {fields}")


def of_whole_output(path: Path, project: Project) -> Iterator[Violation]:
    """Yield the rows of today's input that have an answer and are not current in the output; held at rest."""
    with opened(path) as connection:
        answered = connection.execute(
            "SELECT any_value(q.key), arg_max(d.state, d.seq) AS state FROM ledger.decisions d "
            "JOIN (SELECT DISTINCT key_id, key FROM ledger.requests) q USING (key_id) "
            "WHERE list_contains($names, d.pipeline) GROUP BY key_id HAVING state IN ('accepted', 'kept')",
            {"names": list(NAMES)},
        ).fetchall()
        shown = connection.execute(f"SELECT id FROM {project.table} WHERE _current").fetchall() if answered else []
    keys = ([int(Decimal(each)) for each in json.loads(key)] for key, _ in answered)
    found = {key[0] for key in keys if key == project.whole_key(key[0])} & project.rows.keys()
    if project.check:  # it may not hold for what a person has left as it was
        found -= project.kept | {key for key, _ in project.perhaps} | {key for (key, _), _ in project.said}
    for key in sorted(found - {int(Decimal(str(key))) for (key,) in shown}):
        yield Violation(rule="an answered row is current in the output", what=f"row {key} is not")


def of_chain(path: Path, project: Project, sales: Sequence[Sale]) -> Iterator[Violation]:
    """Yield the current rows further down a chain that are not made of what is current above them."""
    by_id = {sale.custom_id: sale.text for sale in sales if sale.custom_id}
    at_once = {sale.text for sale in sales if not sale.custom_id}
    read = f"{FOLLOWED.format(table=project.table)} WHERE label <> 'other' AND _current"
    steps = [("follow", "id", f"SELECT id, 'Follow <<' || body || '>>' FROM ({read})")]
    read = "SELECT reply, count(*) AS answers FROM follow WHERE _current GROUP BY reply"
    steps.append(("digest", "reply", f"SELECT reply, format('Digest <<{{}} {{}}>>', reply, answers) FROM ({read})"))
    with opened(path) as connection:
        for name, key, statement in steps[: project.followers]:
            expected = dict(connection.execute(statement).fetchall())
            rows = connection.execute(f"SELECT {key}, _custom_id FROM {name} WHERE _current").fetchall()
            for value, custom_id in rows:
                text, today = by_id.get(custom_id), expected.get(value)
                if today is None or (text != today and today not in at_once):
                    what = f"{name} {value} is current for {text!r}, today {today!r}"
                    yield Violation(rule="a chain is made of what is current above", what=what)


def of_budget(new: Sequence[Sale], all_sales: Sequence[Sale], project: Project, called: Called) -> Iterator[Violation]:
    """Yield it where a command sold more than a budget lets it, which reserves the most that a batch may cost."""
    own = project.max_usd if project.reserve == "most" and not project.followers else ""
    spent = sum((sale.cost_usd for sale in all_sales), Decimal(0))
    for limit in (own, project.all_usd):
        if new and limit and spent > Decimal(limit):
            what = f"{called}: {len(new)} requests sold, {spent} US dollars spent of {limit}"
            yield Violation(rule="budgets are kept", what=what)


@dataclass(slots=True)
class Days:
    """The budgets of days (UTC), each as it was at the last sale of that day, where the most of a batch is reserved."""

    limits: dict[date, Decimal] = field(default_factory=dict)

    def passed(
        self, new: Sequence[Sale], all_sales: Sequence[Sale], project: Project, called: Called
    ) -> Iterator[Violation]:
        """Yield it where what was sold on a day cost more than that day's budget, also if it is known only later."""
        own = project.day_usd if project.reserve == "most" and not project.followers else ""
        limits = [Decimal(each) for each in (own, project.all_day_usd) if each]
        for day in {_day(sale) for sale in new}:
            self.limits.pop(day, None)
            if limits:
                self.limits[day] = min(limits)
        for day, limit in self.limits.items():
            spent = sum((sale.cost_usd for sale in all_sales if _day(sale) == day), Decimal(0))
            if spent > limit:
                what = f"{called}: {spent} US dollars spent of {limit} on {day}"
                yield Violation(rule="budgets of days are kept", what=what)


def _day(sale: Sale) -> date:
    return datetime.fromtimestamp(sale.at, UTC).date()


def not_saved(root: Path, sales: Sequence[Sale]) -> set[int]:
    """Return the places of those realtime calls whose answer is not whole in the raw folder."""
    at_once = [sale for sale in sales if sale.batch_id is None]
    lines = (line for _, content in _raw_files(root) for line in content.splitlines() if _is_whole(line))
    saved = b"\n".join(lines) if at_once else b""
    return {sale.place for sale in at_once if sale.result is None or sale.result.name.encode() not in saved}


def raw_ids(root: Path) -> set[tuple[str, str]]:
    """Return the (chunk, custom id) of every line that is saved whole in the raw folder."""
    found: set[tuple[str, str]] = set()
    for name, content in _raw_files(root):
        for line in content.splitlines():
            try:
                read = json.loads(line)
                found.add((name.partition(".")[0], read.get("custom_id") or read["key"]))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
    return found


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _raw_files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file of results in the raw folder."""
    folder = root / ".batchpipe" / "raw"
    with unwatched():
        for path in sorted(folder.glob("*.jsonl*")) if folder.is_dir() else ():
            if path.name.endswith(".part"):
                continue
            if path.name.endswith(".zst"):
                yield path.name, _unpacked(path) or b""
            else:
                yield path.name, path.read_bytes()


def _unpacked(path: Path) -> bytes | None:
    """Return what a compressed file holds; None where it is damaged."""
    try:
        return bytes(pyarrow.input_stream(str(path), compression="zstd").read())
    except OSError:
        return None


def of_raw_files(root: Path, rotten: Collection[str]) -> Iterator[Violation]:
    """Yield the compressed files of results that cannot be read, but those of chunks that are `rotten`."""
    with unwatched():
        for path in sorted((root / ".batchpipe" / "raw").glob("*.zst")):
            if path.name.partition(".")[0] not in rotten and _unpacked(path) is None:
                yield Violation(rule="no raw file is damaged", what=f"{path.name} cannot be read")


def of_raw(path: Path, received: set[tuple[str, str]], project: Project, said: str) -> Iterator[Violation]:
    """Yield the answers that were received whole and that the ledger does not know.

    Those of a pipeline that has no file any more wait in the raw folder, and `run --all` has said so.
    """
    waiting = [*WAITING.findall(said), *(each for each in FOLLOWERS if each not in project.pipelines)]
    with opened(path) as connection:
        known = {
            (str(chunk), custom_id)
            for chunk, custom_id in connection.execute(
                "SELECT r.chunk_id, s.custom_id FROM ledger.results s JOIN ledger.requests r USING (custom_id)"
            ).fetchall()
        }
        asked = {
            (str(chunk), custom_id)
            for chunk, custom_id in connection.execute("SELECT chunk_id, custom_id FROM ledger.requests").fetchall()
        }
        known |= {
            (str(chunk), custom_id)
            for chunk, custom_id in connection.execute(
                "SELECT chunk_id, custom_id FROM ledger.requests WHERE list_contains($names, pipeline)",
                {"names": waiting},
            ).fetchall()
        }
    for chunk, custom_id in sorted((received & asked) - known) + sorted(
        each for each in received - asked if "stranger" not in each[1] and each[1] != "somebody-elses-row"
    ):
        yield Violation(rule="no answer is lost", what=f"{custom_id} of chunk {chunk} is saved raw, not in the ledger")
