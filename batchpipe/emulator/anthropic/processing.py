"""Working a batch: from the kept requests to the file of result lines."""

import random
import sqlite3
from dataclasses import dataclass, field
from hashlib import md5

import orjson

from batchpipe.emulator.anthropic.answering import Answer, Answerer
from batchpipe.emulator.anthropic.bodies import line_pieces
from batchpipe.emulator.anthropic.outcomes import Outcomes
from batchpipe.emulator.anthropic.params import Call
from batchpipe.emulator.anthropic.promptcache import PromptCache
from batchpipe.emulator.service.errors import error_envelope
from batchpipe.emulator.service.faults import Rules
from batchpipe.emulator.service.jsontypes import JsonObject
from batchpipe.emulator.service.store import Batch, Store


@dataclass
class Counts:
    """How the requests of a batch ended."""

    by_kind: dict[str, int] = field(default_factory=lambda: {"succeeded": 0, "errored": 0, "canceled": 0, "expired": 0})

    def add(self, kind: str) -> None:
        self.by_kind["succeeded" if kind == "unknown" else kind] += 1


@dataclass
class Memory:
    """What one piece of work knows from earlier ones, and what it leaves behind."""

    outcomes: Outcomes
    cache: PromptCache

    def save(self, connection: sqlite3.Connection) -> None:
        """Belongs into the transaction that records the work: a kill between the two would count it twice."""
        connection.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?)", list(self.outcomes.changed.items()))
        connection.executemany("INSERT OR REPLACE INTO prompt_cache VALUES (?, ?)", list(self.cache.written.items()))


@dataclass
class Worked:
    """A batch whose results file is written."""

    counts: Counts
    memory: Memory


class Worker:
    """Works batches and single calls of one emulator."""

    def __init__(self, store: Store, answerer: Answerer) -> None:
        self._store = store
        self._answerer = answerer

    def work(self, batch: Batch, rules: Rules, finished: float, otherwise: str) -> Worked:
        """Writes the results file of a batch; the caller records its end.

        `finished` is the share of requests that were worked; the others end as `otherwise`.
        """
        call = Call(batch.version, frozenset(batch.betas.split(",")) - {""})
        counts = Counts()
        target = self._store.results_path(batch.id)
        part = target.with_suffix(".part")
        pieces = line_pieces(self._store.body_path(batch.id))
        # The provider promises no order; a fixed shuffle makes a client that relies on one fail every time.
        shuffle = random.Random(batch.requests)
        shuffle.shuffle(pieces)
        memory = self._memory(rules)
        with (
            self._store.body_path(batch.id).open("rb") as body,
            part.open("wb") as results,
        ):
            for offset, length in pieces:
                body.seek(offset)
                lines: list[bytes] = []
                for line in body.read(length).splitlines():
                    request: JsonObject = orjson.loads(line)
                    custom_id: str = request["custom_id"]
                    if finished >= 1 or (finished > 0 and _share_of(custom_id) < finished):
                        answer = self._answerer.answer(
                            request["params"], call, batch.id + custom_id, memory.outcomes, memory.cache
                        )
                    else:
                        answer = Answer(otherwise)
                    counts.add(answer.kind)
                    lines.append(_result_line(batch.id, custom_id, answer))
                results.writelines(_unordered(lines, shuffle))
        part.replace(target)
        return Worked(counts, memory)

    def single(self, params: JsonObject, call: Call, unique: str, rules: Rules) -> Answer:
        """One realtime call."""
        with self._store.processing():
            memory = self._memory(rules)
            answer = self._answerer.answer(params, call, unique, memory.outcomes, memory.cache)
            with self._store.transaction() as connection:
                memory.save(connection)
        return answer

    def _memory(self, rules: Rules) -> Memory:
        counters = {str(name): int(seen) for name, seen in self._store.query("SELECT * FROM counters")}
        now = self._store.now()
        entries = {
            str(prefix): float(expires_at)
            for prefix, expires_at in self._store.query("SELECT * FROM prompt_cache WHERE expires_at > ?", (now,))
        }
        return Memory(Outcomes(rules.requests, counters), PromptCache(entries, now, rules.cache_hits))


def _share_of(custom_id: str) -> float:
    return int.from_bytes(md5(custom_id.encode()).digest()[:4]) / 0x100000000


def _unordered(lines: list[bytes], shuffle: random.Random) -> list[bytes]:
    before = list(lines)
    shuffle.shuffle(lines)
    if lines == before:
        lines.reverse()
    return lines


def _result_line(batch_id: str, custom_id: str, answer: Answer) -> bytes:
    result: JsonObject
    if answer.message is not None:
        result = {"type": "succeeded", "message": answer.message}
    elif answer.error is not None:
        _, kind, words = answer.error
        request_id = f"req_01{md5((batch_id + custom_id).encode()).hexdigest()[:22]}"
        result = {"type": "errored", "error": error_envelope(kind, words, request_id)}
    else:
        result = {"type": "weird" if answer.kind == "unknown" else answer.kind}
    return orjson.dumps({"custom_id": custom_id, "result": result}, option=orjson.OPT_APPEND_NEWLINE)
