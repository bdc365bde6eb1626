"""The counter of one pipeline's desk: it hands out rows, takes reviews in groups, and tells what others have said."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from batchpipe.commands.review.desk import open_desk
from batchpipe.commands.review.screen import WHY, said_meanwhile
from batchpipe.engine.gold.agreement import Agreed, read_agreement, wilson
from batchpipe.engine.ledger.overview import RungAnswer, rung_answers
from batchpipe.engine.quality.review import Desk, ReviewRow, RowReview
from batchpipe.engine.quality.withdrawals import PastReview, newest_reviews, withdraw
from batchpipe.html.blocks import File
from batchpipe.html.links import SERVED
from batchpipe.media.content import SUFFIX
from batchpipe.pages.desk.leases import Leases
from batchpipe.pages.files import row_files
from batchpipe.pages.site import Site, Stamp
from batchpipe.pipeline.model import PipelineFile
from batchpipe.schema import exact_json
from batchpipe.schema.typed import ABSENT
from batchpipe.sql.quoting import quote_list, sql

COMMIT_SECONDS = 0.5
CONFIDENCE = "confidence"
LOCK_SECONDS = 20.0
MOST_REMEMBERED = 20_000
OVERTAKEN = "a run has answered this row again meanwhile"
GONE = "the row is not to be reviewed any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A review as it comes from a person: about the row called `key`, whose `token` the person saw. `changes` are the
    texts of the fields that the person has set; None takes the review before back. `seen` is the commit of another
    person's review that this person was told of, and replaces.
    """

    id: str
    key: str
    token: str
    changes: Mapping[str, str] | None
    seen: int = 0


@dataclass(slots=True, kw_only=True)
class Counter:
    """The desk of one pipeline for everybody who reviews in this process. One thread at a time works at it.

    The database is open only while rows are chosen, shown or recorded.
    """

    site: Site
    file: PipelineFile
    _guard: threading.Lock = field(default_factory=threading.Lock, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _desk: Desk | None = field(default=None, init=False)
    _leases: Leases = field(default_factory=lambda: Leases(rows=0), init=False)
    _stamp: Stamp = field(default=(), init=False)
    _agreed: Agreed = field(default_factory=lambda: Agreed(name="", n=0, agreed=0), init=False)
    _committed: float = field(default=0.0, init=False)
    _done: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict, init=False)
    _numbers: dict[str, int] = field(default_factory=dict, init=False)

    def take(self, person: str, number: int, have: Sequence[str]) -> dict[str, Any]:
        """Return up to `number` rows for a person who has those called `have`, with the form of their fields."""
        with self._guard:
            desk = self._opened()
            own = [self._numbers[key] for key in have if key in self._numbers]
            given = self._leases.give(person, number, time.monotonic(), without=own)
            if not given and not own and self._stamp != self.site.stamp():
                desk = self._open_anew()
                given = self._leases.give(person, number, time.monotonic())
            rows = self._rows(desk, given)
            self._numbers |= {row.key: row.number for row in rows}
            answers = self._answers(desk, rows)
            shown = [self._shown(desk, row, answers) for row in rows]
            return {"fields": _forms(desk), "rows": shown, "progress": self._progress()}

    def say(self, person: str, words: Sequence[Said]) -> dict[str, Any]:
        """Record reviews in groups, with at most two commits a second, and return what became of each. A review that
        came before, under the same id, is not recorded again.
        """
        with self._guard:
            desk = self._opened()
            results: dict[str, dict[str, Any]] = {}
            group: list[Said] = []
            for each in words:
                if (person, each.id) in self._done:
                    results[each.id] = self._done[person, each.id]
                    continue
                if group and (each.changes is None or each.key in {one.key for one in group}):
                    results |= self._recorded(desk, person, group)
                    group = []
                if each.changes is None:
                    results |= self._withdrawn(desk, person, each)
                else:
                    group.append(each)
            if group:
                results |= self._recorded(desk, person, group)
            self._done |= {(person, name): result for name, result in results.items()}
            for old in list(self._done)[: max(len(self._done) - MOST_REMEMBERED, 0)]:
                del self._done[old]
            self._stamp = self.site.stamp()
            return {"results": [results[each.id] for each in words], "progress": self._progress()}

    def close(self) -> None:
        """Close the desk."""
        with self._guard:
            self._stack.close()
            self._desk = None

    def _opened(self) -> Desk:
        return self._desk if self._desk is not None else self._open_anew()

    def _open_anew(self) -> Desk:
        """Choose the rows to review as they are now."""
        self._stack.close()
        self._stack = ExitStack()
        self._numbers = {}
        self._stamp = self.site.stamp()
        context = self._stack.enter_context(self.site.context(LOCK_SECONDS, gives_way=False))
        desk = self._stack.enter_context(open_desk(context, self.file, {}))
        with context.database.reading(desk.work) as session:
            self._agreed = read_agreement(session, desk.resolved.names).total
        self._desk, self._leases = desk, Leases(rows=desk.rows)
        return desk

    def _rows(self, desk: Desk, numbers: Sequence[int]) -> list[ReviewRow]:
        """Return rows by their numbers.

        Reads `work.review`.
        """
        return desk.rows_of(numbers) if numbers else []

    def _answers(self, desk: Desk, rows: Sequence[ReviewRow]) -> dict[str, list[RungAnswer]]:
        if not rows:
            return {}
        with desk.context.database.reading(desk.work) as session:
            found = rung_answers(session, desk.resolved.names, [row.key for row in rows])
        by_key: dict[str, list[RungAnswer]] = {}
        for each in found:
            by_key.setdefault(each.key, []).append(each)
        return by_key

    def _shown(self, desk: Desk, row: ReviewRow, answers: Mapping[str, Sequence[RungAnswer]]) -> dict[str, Any]:
        """Return a row as the page shows it: the input that the prompt uses, the rest folded, what the rungs said.

        Of a row with hidden fields nothing is sent that says what the models answered there.
        """
        shown = desk.shown_columns
        gold = self.file.pipeline.eval.gold if self.file.pipeline.eval is not None else None
        hidden = {name for name in row.input if name not in shown and gold and name in gold}
        confidence = self.file.pipeline.eval.confidence if self.file.pipeline.eval is not None else CONFIDENCE
        hidden |= {form.name for form in desk.forms} - set(shown)
        return {
            "key": row.key,
            "token": row.token,
            "link": SERVED.row(self.file.pipeline.name, exact_json.loads(row.key)),
            "why": "; ".join(WHY[word] for word in row.chosen) or "it was asked for",
            "by": f"{row.model or 'unknown'}, rung {row.rung}, prompt {row.version}",
            "shown": [[name, row.input[name]] for name in shown if not name.endswith(SUFFIX)],
            "files": [{"words": each.words, "source": each.source} for each in self._files(desk, row, hidden)],
            "rest": [
                [name, text]
                for name, text in row.input.items()
                if name not in shown and name not in hidden and not name.endswith(SUFFIX)
            ],
            "hidden": sorted(row.hidden),
            "texts": _texts(desk, row.document),
            "answers": [_answer(desk, each, confidence) for each in answers.get(row.key, ()) if not row.hidden],
        }

    def _files(self, desk: Desk, row: ReviewRow, hidden: Collection[str]) -> list[File]:
        """Return the files of a row. Reads `ledger.media`."""
        values = {name: text for name, text in row.input.items() if name.removesuffix(SUFFIX) not in hidden}
        if not any(each.endswith(SUFFIX) for each in values):
            return []
        with desk.context.database.reading(desk.work) as session:
            return row_files(session, self.file.pipeline.name, exact_json.loads(row.key), values)

    def _recorded(self, desk: Desk, person: str, group: Sequence[Said]) -> dict[str, dict[str, Any]]:
        """Record one group: reviews of different rows, in one commit."""
        numbers = _numbers_of(desk, [each.key for each in group])
        results: dict[str, dict[str, Any]] = {}
        there = []
        for each in group:
            if each.key in numbers and numbers[each.key][1] == each.token:
                there.append((numbers[each.key][0], each))
            else:
                results[each.id] = self._late(desk, person, each)
        rows = {row.number: row for row in self._rows(desk, [number for number, _ in there])}
        drafts = [(number, _changed(desk, rows[number].document, each.changes or {})) for number, each in there]
        judged = desk.validate(drafts) if drafts else []
        verdicts: dict[int, tuple[Said, RowReview]] = {}
        for (number, each), (document, error) in zip(there, judged, strict=True):
            if document is None:
                results[each.id] = {"id": each.id, "key": each.key, "outcome": "refused", "message": error}
                continue
            accepted = document == rows[number].answer
            review = RowReview(number=number, document=document, accepted=accepted, reviewed_by=person)
            verdicts[number] = (each, review)
            if each.seen:
                desk.saw(number, each.seen, person)
        return results | self._committed_words(desk, verdicts)

    def _committed_words(self, desk: Desk, verdicts: dict[int, tuple[Said, RowReview]]) -> dict[str, dict[str, Any]]:
        """Commit reviews. Those that a run or another person has overtaken are reported, the others are recorded."""
        results: dict[str, dict[str, Any]] = {}
        while verdicts:
            self._wait()
            refused = desk.record([review for _, review in verdicts.values()])
            self._committed = time.monotonic()
            if not refused:
                break
            answers = {row.number: row.answer for row in self._rows(desk, refused)}
            for number in refused:
                each, _ = verdicts.pop(number)
                other = desk.meanwhile.get(number)
                if other is None:
                    results[each.id] = {"id": each.id, "key": each.key, "outcome": "overtaken", "message": OVERTAKEN}
                    continue
                message = said_meanwhile(other, answers[number])
                if other.verdict != "withdrawn":
                    self._leases.say([number])
                told = {"id": each.id, "key": each.key, "outcome": "told", "message": message, "seen": other.seq}
                results[each.id] = told | {"document": other.document}
        for number, (each, review) in verdicts.items():
            verdict = "accepted" if review.accepted else "corrected"
            results[each.id] = {"id": each.id, "key": each.key, "outcome": verdict, "message": ""}
            self._agreed = _plus(self._agreed, 1, int(review.accepted))
            self._leases.say([number])
        return results

    def _late(self, desk: Desk, person: str, each: Said) -> dict[str, Any]:
        """Return what became of a review of a row that has changed since the person saw it. A review that an earlier
        process recorded is recognised.
        """
        with desk.context.database.reading(desk.work) as session:
            known = newest_reviews(session, desk.resolved.names, [each.key]).get(each.key)
        base = {"id": each.id, "key": each.key}
        if known is None:
            return base | {"outcome": "overtaken", "message": GONE}
        if known.reviewed_by == person and known.document == _changed(desk, known.before, each.changes or {}):
            return base | {"outcome": known.verdict, "message": ""}
        return base | {"outcome": "overtaken", "message": f"{known.reviewed_by} has {known.verdict} it meanwhile"}

    def _withdrawn(self, desk: Desk, person: str, each: Said) -> dict[str, dict[str, Any]]:
        """Take back the person's newest review of a row, and give the row to that person again."""
        self._wait()
        taken: dict[str, PastReview] = withdraw(desk.context, desk.work, desk.resolved, [each.key], person)
        self._committed = time.monotonic()
        base = {"id": each.id, "key": each.key}
        word = taken.get(each.key)
        if word is None:
            return {each.id: base | {"outcome": "refused", "message": "there is no review of yours to take back"}}
        numbers = _numbers_of(desk, [each.key])
        if each.key in numbers:
            number = numbers[each.key][0]
            with desk.context.database.reading(desk.work) as session:
                left, seq = newest_reviews(session, desk.resolved.names, [each.key]), session.seq
            if not left:  # otherwise the review before it stands again, and nobody has to review the row
                self._leases.return_to(person, [number], time.monotonic())
            desk.saw(number, seq, person)
        self._agreed = _plus(self._agreed, -1, -int(word.verdict == "accepted"))
        return {each.id: base | {"outcome": "withdrawn", "message": ""}}

    def _wait(self) -> None:
        """Wait until half a second has passed since the commit before."""
        left = self._committed + COMMIT_SECONDS - time.monotonic()
        if left > 0:
            time.sleep(left)

    def _progress(self) -> dict[str, Any]:
        """Return how far the desk is, and the share of right answers with its interval."""
        agreed = self._agreed
        ends = wilson(agreed.agreed, agreed.n) if agreed.n else None
        return {
            "rows": self._leases.rows,
            "left": self._leases.left,
            "reviewed": agreed.n,
            "right": agreed.agreed,
            "ends": list(ends) if ends is not None else None,
        }


def _changed(desk: Desk, document: Mapping[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    """Return the document with the fields that a person has set, as texts."""
    found = dict(document)
    for form in desk.forms:
        if form.name in changes:
            value = form.value(changes[form.name])
            found.pop(form.name, None)
            if value is not ABSENT:
                found[form.name] = value
    return found


def _texts(desk: Desk, document: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a document as the texts that a person would type."""
    return {form.name: form.text(document[form.name]) for form in desk.forms if form.name in document}


def _answer(desk: Desk, found: RungAnswer, confidence: str) -> dict[str, Any]:
    """Return what a rung answered, with its confidence where that is a field."""
    document = exact_json.loads(found.output)
    sure = document.get(confidence) if isinstance(document, dict) else None
    texts = _texts(desk, document) if isinstance(document, dict) else {}
    return {"rung": found.rung, "model": found.model, "confidence": sure, "texts": texts}


def _plus(found: Agreed, n: int, right: int) -> Agreed:
    return Agreed(name=found.name, n=max(found.n + n, 0), agreed=max(found.agreed + right, 0))


def _numbers_of(desk: Desk, keys: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Return the number and the token of each row that is there.

    Reads `work.review`.
    """
    statement = sql("SELECT key, number, token FROM work.review WHERE key IN ({keys})", keys=quote_list(keys))
    return {key: (number, token) for key, number, token in desk.work.connection.execute(statement).fetchall()}


def _forms(desk: Desk) -> list[dict[str, Any]]:
    return [
        {
            "name": form.name,
            "types": list(form.types),
            "allowed": [form.text(each) for each in form.allowed] if form.allowed is not None else None,
            "optional": form.optional,
        }
        for form in desk.forms
    ]
