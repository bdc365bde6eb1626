"""The project of a seed: its pipeline file and its rows, and what the file makes of an answer, told independently."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .parts.pictures import drawn_words, picture
from .parts.switches import SWITCHES

LOW, MIDDLE, HIGH = "claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-8"
LUNA, MINI = "openai:gpt-6-luna", "openai:gpt-5.4-mini"
LITE, FLASH = "gemini:gemini-3.5-flash-lite", "gemini:gemini-3.8-flash"
# The ladders that a project may have, by its family of models.
LADDERS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "anthropic": ((LOW, MIDDLE), (LOW,), (LOW, HIGH), (MIDDLE, HIGH), (LOW, MIDDLE, HIGH)),
    "openai": ((LUNA, MINI), (LUNA,), (MINI,)),
    "gemini": ((LITE, FLASH), (LITE,), (FLASH,)),
    "mixed": ((LUNA, LOW), (LITE, LOW, MINI), (LOW, FLASH), (LUNA, LITE, MIDDLE)),
}
# Who may vote beside the first model of a ladder, by its family.
MEMBERS: Mapping[str, Sequence[str]] = {
    "anthropic": (MIDDLE, HIGH),
    "openai": (MINI,),
    "gemini": (FLASH,),
    "mixed": (MINI, HIGH),
}
LOWEST = tuple(each.rpartition(":")[2] for each in (LOW, LUNA, LITE))
FOLLOWERS = ("follow", "digest")  # each of them reads the pipeline before it
NAMES = ("demo", "kinds", "sorted")  # that a pipeline gets, one after the other
LABELS = ("billing", "bug", "other")
# What a row's text says of its answer. The emulator's rules obey it.
MANNERS = ("", "", "", "", "wrong;", "hiccup;", "long;", "refused;", "unsure;", "empty;", "broken;")
LEAST_SCORE = 0.2
PHOTO = ", 'photos/' || CAST(CAST(id AS DOUBLE) AS BIGINT) || '.png' AS photo"
LOCAL = """[[models]]
model = "local"
accept = "_confidence >= 0.4"
audit = 0.25
"""
FOLLOWED = "SELECT id, CAST(CAST(id AS DOUBLE) AS BIGINT) || ' is ' || label || ';' AS body FROM {table}"


@dataclass(slots=True, kw_only=True)
class Project:
    """The pipeline file and the rows as they stand now. `rows` has the text of each row by its key.

    `said` has the labels that a person gave to a row as it was shown then, in their order; the last one holds.
    `perhaps` has what may have been said, or forgotten: the command that recorded it was killed, or an older database
    was put back.
    `pictures` says that each row is asked with a picture; `drawn` has what the picture of a row shows, else it is 0.

    `kept` are the keys of rows whose answers an order keeps under an older prompt. `names` are all names so far.
    `samples` is how often the first rung asks, `member` who votes there beside it; `most_samples` what it ever was.
    `all_usd` is what all pipelines may spend together. `local` says that the ladder begins with the local model, which
    cannot answer a field of free text or a list. `turned` has what stands at the switches that were turned; `lax` has
    the settings of `[rerun]` that there ever were, by which changed rows may have been kept.
    """

    name: str = "demo"
    rows: dict[int, str] = field(default_factory=dict)
    removed: dict[int, str] = field(default_factory=dict)
    common: str = "Which kind is"
    note: bool = False
    accept: bool = True
    check: bool = False
    score_column: str = ""
    key_type: str = "BIGINT"
    family: str = "anthropic"
    models: tuple[str, ...] = (LOW, MIDDLE)
    realtime: frozenset[int] = frozenset()
    stragglers: int = 0
    reserve: str = ""
    items: bool = False
    hook: bool = False
    followers: int = 0
    judged: bool = False
    said: list[tuple[tuple[int, str], str]] = field(default_factory=list)
    pictures: bool = False
    drawn: dict[int, int] = field(default_factory=dict)
    perhaps: set[tuple[int, str]] = field(default_factory=set)
    samples: int = 1
    most_samples: int = 1
    member: str = ""
    all_usd: str = ""
    all_day_usd: str = ""
    day_usd: str = ""
    local: bool = False
    max_requests: int = 6
    attempts: int = 3
    pilot: int = 0
    max_usd: str = ""
    renamed_from: str = ""
    next_key: int = 1
    kept: set[int] = field(default_factory=set)
    names: list[str] = field(default_factory=lambda: ["demo"])
    turned: dict[str, str] = field(default_factory=dict)
    lax: set[str] = field(default_factory=set)

    @property
    def reviewed(self) -> dict[tuple[int, str], str]:
        """Return the label that a person gave last to each row as it was shown then."""
        return dict(self.said)

    @property
    def table(self) -> str:
        """Return the name of the output table."""
        return "labelled" if self.turned.get("table") else self.name

    @property
    def has_budget(self) -> bool:
        """Return whether anything bounds what may be spent."""
        return any((self.max_usd, self.day_usd, self.all_usd, self.all_day_usd, self.at("budget")))

    @property
    def has_note(self) -> bool:
        """Return whether an answer has a field of free text."""
        return self.note and not self.local

    @property
    def has_items(self) -> bool:
        """Return whether an answer has a list."""
        return self.items and not self.local

    @property
    def pipelines(self) -> list[str]:
        """Return the names of the pipelines, each of which reads the one before it."""
        return [self.name, *FOLLOWERS[: self.followers]]

    def rename(self, name: str) -> None:
        """Give the pipeline another name, with a word of its old one."""
        self.renamed_from, self.name = self.name, name
        self.names.append(name)

    def turn(self, name: str, value: str) -> None:
        """Turn a switch of the file. Under another key a person has said nothing of a row yet, or said it before."""
        if name == "key" and value != self.turned.get(name, ""):
            self.perhaps |= self.reviewed.keys()
            self.said.clear()
        if name == "rerun" and value:
            self.lax.add(value.partition(" ")[0])
        self.turned[name] = value

    def at(self, place: str) -> str:
        """Return what stands at a place of the file where switches are."""
        here = ((name, switch) for name, switch in SWITCHES.items() if switch.place == place)
        return "".join(self.turned.get(name) or switch.as_it_is for name, switch in here)

    def text(self) -> str:
        """Return the pipeline file."""
        renamed = f'renamed_from = "{self.renamed_from}"\n' if self.renamed_from else ""
        local = LOCAL if self.local else ""
        column = f'column = "{self.score_column}"\n' if self.score_column else ""
        note = f'[output.fields.note]\ntype = "string"\n{self.at("note")}' if self.has_note else ""
        check = f'[output.checks]\nsure = "score > {LEAST_SCORE}"\n' if self.check else ""
        pilot = f"[pilot]\nrows = {self.pilot}\n{self.at('pilot')}" if self.pilot else ""
        reserve = f'reserve = "{self.reserve}"\n' if self.reserve else ""
        budget = _budget(self.max_usd, self.day_usd, reserve, self.at("budget"))
        photo, shown = (PHOTO, "{{ image(photo) }}") if self.pictures else ("", "")
        items, tables = "", ""
        if self.has_items:
            items = '[output.fields.words]\ntype = "array"\nitems = { type = "string" }\n'
            tables = '[output.rows]\nwords = "words_of_rows"\n'
        judged = self._judged() if self.judged or self.local else ""
        hook = f"after = {json.dumps(self.after())}\n" if self.hook else ""
        rerun = f"[rerun]\n{self.at('rerun')}"
        stragglers = f"stragglers = {self.stragglers}\n" if self.stragglers else ""
        ladder = "".join(
            f"[[models]]\n{self.asked_of(model, place)}"
            + ('mode = "realtime"\n' if place in self.realtime else "")
            + ('accept = "score >= 0.5"\n' if self.accept and place + 1 < len(self.models) else "")
            + (self.at("upper") if place else "")
            for place, model in enumerate(self.models)
        )
        return f"""{renamed}
[input]
query = '''
SELECT id, body, CAST(id AS DOUBLE)::BIGINT % 2 AS part, CAST(id AS DOUBLE)::BIGINT // 2 AS half{photo}
FROM read_csv('rows.csv', types = {{'id': '{self.key_type}', 'body': 'VARCHAR'}})'''
{self.at("input")}[prompt]
user_text = "{self.common} <<{{{{ body }}}}>>{shown}"
{self.at("prompt")}{self.at("turns")}[output]
{self.at("output")}{hook}[output.fields.label]
type = "string"
{self.at("labels")}[output.fields.score]
type = "number"
{column}{note}{items}{tables}{check}{local}{ladder}
[chunking]
max_requests = {self.max_requests}
max_in_flight = 40
{self.at("chunking")}[retry]
attempts = {self.attempts}
{self.at("retry")}{stragglers}{rerun}{pilot}{budget}{judged}"""

    def asked_of(self, model: str, place: int) -> str:
        """Return whom a rung asks, how often, and with how much room for the answer."""
        if place == 0 and self.member and self.member not in self.models:
            return f'panel = ["{model}", "{self.member}"]\nmax_tokens = 2_000\n{self.at("votes")}'
        samples = f"samples = {self.samples}\n{self.at('votes')}" if place == 0 and self.samples > 1 else ""
        return f'model = "{model}"\n{samples}max_tokens = {room(model, place)}\n'

    def whole_key(self, key: int) -> list[int]:
        """Return the values of a row's key columns."""
        columns = self.at("input")
        return [key, *([key % 2] if "part" in columns else []), *([key // 2] if "half" in columns else [])]

    def after(self) -> list[str]:
        """Return the statements that run after each commit of results."""
        return [
            "ATTACH 'hooked.duckdb' AS hooked",
            "CREATE TABLE IF NOT EXISTS hooked.seen (answers BIGINT)",
            f"INSERT INTO hooked.seen SELECT count(*) FROM {self.table} WHERE _current",
        ]

    def _judged(self) -> str:
        """Return the tables of reviews and of gold rows."""
        confidence = 'confidence = "score"\n' if self.local else ""
        compared = self.at("judge") or '[eval.fields]\nlabel = "exact"\n'
        of_key = {"part": ", id % 2 AS part", "half": ", id // 2 AS half"}
        key = "".join(column for name, column in of_key.items() if name in self.at("input"))
        gold = f"[eval]\ngold = \"SELECT id{key}, label FROM read_csv('gold.csv')\"\n"
        return f'[review]\nwhere = "true"\n{self.at("review")}{gold}{confidence}{compared}'

    def follower(self, name: str) -> str:
        """Return the file of a pipeline that reads another one's table."""
        if name == "follow":
            read = FOLLOWED.format(table=self.table)
            query, key, text, allowed = f"{read} WHERE label <> 'other'", "id", "Follow <<{{ body }}>>", ["yes", "no"]
        else:
            read = "SELECT reply, count(*) AS answers FROM follow GROUP BY reply"
            query, key, text, allowed = read, "reply", "Digest <<{{ reply }} {{ answers }}>>", ["a", "b"]
        field = "reply" if name == "follow" else "digest"
        rung = f'model = "{self.models[0]}"\nmax_tokens = {room(self.models[0], 0)}'
        return f"""[input]
query = "{query}"
key = "{key}"
[prompt]
user_text = "{text}"
[output.fields.{field}]
type = "string"
enum = {json.dumps(allowed)}
[[models]]
{rung}
[retry]
attempts = {self.attempts}
"""

    def write(self, root: Path, now: float) -> None:
        """Write the pipeline file, its rows and their pictures below `root`; files of older names are gone.

        `now` is the machine's time, which the new pictures bear.
        """
        folder = root / "pipelines"
        folder.mkdir(exist_ok=True)
        budget = _budget(self.all_usd, self.all_day_usd, 'reserve = "most"\n')
        (root / "batchpipe.toml").write_text(budget, encoding="utf-8")
        for path in folder.glob("*.toml"):
            if path.stem not in self.pipelines:
                path.unlink()
        for name in self.pipelines[1:]:
            (folder / f"{name}.toml").write_text(self.follower(name), encoding="utf-8")
        (folder / f"{self.name}.toml").write_text(self.text(), encoding="utf-8")
        lines = [f'{key},"{body}"' for key, body in self.rows.items()]
        gold = [f"{key},{true_label(body)}" for key, body in list(self.rows.items())[:8]]
        (root / "gold.csv").write_text("\n".join(["id,label", *gold]) + "\n", encoding="utf-8")
        (root / "rows.csv").write_text("\n".join(["id,body", *lines]) + "\n", encoding="utf-8")
        (root / "photos").mkdir(exist_ok=True)
        for key in self.rows if self.pictures else ():
            path, content = root / "photos" / f"{key}.png", picture(self.drawn.get(key, 0))
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)
                os.utime(path, (now, now))

    def provider_rules(self, calls: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
        """Return the emulator's rules: answers that obey the rows' texts, and faults of calls."""
        more_fields = ({"note": "fine"} if self.has_note else {}) | ({"words": ["a", "b"]} if self.has_items else {})
        sure = [
            {"match": f"is {label};", "outcome": "output", "output": {"label": label, "score": 0.9, **more_fields}}
            for label in LABELS
        ]
        unsure = {"label": "other", "score": 0.1, **more_fields}
        return {
            "requests": [
                {"match": "Judge <<", "outcome": "output", "output": {"correct": True, "reason": "the same"}},
                {"match": "Follow <<", "outcome": "output", "output": {"reply": "yes"}},
                {"match": "Digest <<", "outcome": "output", "output": {"digest": "a"}},
                {"match": "wrong;", "outcome": "wrong_enum", "times": 1},
                {"match": "hiccup;", "outcome": "errored_overloaded", "times": 1},
                {"match": "long;", "outcome": "truncated", "times": 1},
                {"match": "empty;", "outcome": "empty_content", "times": 1},
                {"match": "broken;", "outcome": "invalid_json", "times": 1},
                *({"match": "refused;", "model": model, "outcome": "refused"} for model in LOWEST),
                *({"match": "unsure;", "model": model, "outcome": "output", "output": unsure} for model in LOWEST),
                *sure,
            ],
            "calls": calls or [],
            **more,
        }

    def asked(self, key: int) -> str:
        """Return what the model is asked about a row."""
        return f"{self.common} <<{self.rows[key]}>>{self._drawn(key)}"

    def may_keep(self, text: str, key: int) -> bool:
        """Return whether a row may have been kept, changed as it is, with the answer to a question of before."""
        return key in self.kept or "input_changed" in self.lax or (bool(self.lax) and f"<<{self.rows[key]}>>" in text)

    def shown(self, key: int) -> str:
        """Return what a person sees of a row of the input; no text of another row."""
        return self.rows[key] + self._drawn(key) if key in self.rows else ""

    def seen(self, key: int) -> list[tuple[int, str]]:
        """Return what a person may have seen of a row: what is shown today, or its text with or without its picture.

        A column that the prompt shows since then, or no more, is no other input of a row that was looked at before.
        """
        body, drawn = self.rows.get(key, ""), drawn_words(self.drawn.get(key, 0))
        return [(key, self.shown(key)), (key, body), (key, body + drawn)]

    def _drawn(self, key: int) -> str:
        return drawn_words(self.drawn.get(key, 0)) if self.pictures else ""

    def valid(self, text: str, answer: str | None) -> bool:
        """Return whether an answer to a question is valid today."""
        for start, name in (("Judge <<", "correct"), ("Follow <<", "reply"), ("Digest <<", "digest")):
            if text.startswith(start):
                return name in (answer or "")
        return self.fields(answer) is not None

    def fields(self, answer: str | None) -> dict[str, Any] | None:
        """Return the fields of an answer that is valid today; None of any other."""
        try:
            found = json.loads(answer or "")
        except ValueError:
            return None
        if not isinstance(found, dict) or found.get("label") not in LABELS:
            return None
        if not isinstance(found.get("score"), int | float) or (self.check and found["score"] <= LEAST_SCORE):
            return None
        names = {"label", "score", *(["note"] if self.has_note else []), *(["words"] if self.has_items else [])}
        may_miss = {"note"} if self.at("note") else set()
        if not names - may_miss <= found.keys() <= names or not isinstance(found.get("note", ""), str):
            return None
        if self.has_items and not isinstance(found["words"], list):
            return None
        return {name: found.get(name) for name in names}


def room(model: str, place: int) -> int:
    """Return the `max_tokens` of a rung; models that think need room for it."""
    return 200 * (place + 1) if model.startswith("claude") else 2_000


def true_label(body: str) -> str:
    """Return the label that the text of a row says."""
    return body.partition(" is ")[2].partition(";")[0]


def _budget(ever_usd: str, day_usd: str, reserve: str, month: str = "") -> str:
    ever = f"max_usd = {ever_usd}\n" if ever_usd else ""
    day = f"max_usd_per_day = {day_usd}\n" if day_usd else ""
    return f"[budget]\n{ever}{day}{month}{reserve}" if ever or day or month else ""
