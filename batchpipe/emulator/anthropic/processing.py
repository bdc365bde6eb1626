"""Processing of a batch: its requests are read from their file, and the answers are written to the results file."""

import random
from dataclasses import dataclass, field
from hashlib import md5

import orjson

from batchpipe.emulator.answering.carried import CarriedState, carried_state
from batchpipe.emulator.anthropic.answering import Answer, Answerer
from batchpipe.emulator.anthropic.params import Call
from batchpipe.emulator.service.errors import error_envelope
from batchpipe.emulator.service.faults import Rules
from batchpipe.emulator.service.jsontypes import JsonObject
from batchpipe.emulator.service.pieces import line_pieces, share_of, unordered
from batchpipe.emulator.service.store import Batch, Store


@dataclass
class Counts:
    """The numbers of requests of a batch by how they ended."""

    by_kind: dict[str, int] = field(default_factory=lambda: {"succeeded": 0, "errored": 0, "canceled": 0, "expired": 0})

    def add(self, kind: str) -> None:
        """Count a request that ended as `kind`."""
        self.by_kind["succeeded" if kind == "unknown" else kind] += 1


@dataclass
class WorkedBatch:
    """The outcome of a batch whose results file is written, but whose end is not recorded yet."""

    counts: Counts
    state: CarriedState


class Worker:
    """The worker that answers the batches and realtime calls of one emulator."""

    def __init__(self, store: Store, answerer: Answerer) -> None:
        self._store = store
        self._answerer = answerer

    def work(self, batch: Batch, rules: Rules, finished: float, otherwise: str) -> WorkedBatch:
        """Write the results file of a batch; the caller records its end.

        `finished` is the share of requests that are answered; the others end as `otherwise`.
        """
        call = Call(batch.version, frozenset(batch.betas.split(",")) - {""})
        counts = Counts()
        target = self._store.results_path(batch.id)
        part = target.with_suffix(".part")
        pieces = line_pieces(self._store.body_path(batch.id))
        # The provider promises no order of lines. With a shuffle, a client that relies on an order fails every time.
        shuffle = random.Random(batch.requests)
        shuffle.shuffle(pieces)
        state = carried_state(self._store, rules)
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
                    if finished >= 1 or (finished > 0 and share_of(custom_id) < finished):
                        answer = self._answerer.answer(
                            request["params"], call, batch.id + custom_id, state.outcomes, state.cache
                        )
                    else:
                        answer = Answer(otherwise)
                    counts.add(answer.kind)
                    lines.append(_result_line(batch.id, custom_id, answer))
                results.writelines(unordered(lines, shuffle))
        self._store.put(part, target)
        return WorkedBatch(counts, state)

    def single(self, params: JsonObject, call: Call, unique: str, rules: Rules) -> Answer:
        """Answer one realtime call."""
        with self._store.processing():
            state = carried_state(self._store, rules)
            answer = self._answerer.answer(params, call, unique, state.outcomes, state.cache)
            with self._store.transaction() as connection:
                state.save(connection)
        return answer


def _result_line(batch_id: str, custom_id: str, answer: Answer) -> bytes:
    result: JsonObject
    if answer.message is not None:
        result = {"type": "succeeded", "message": answer.message}
    elif answer.error is not None:
        _, kind, message = answer.error
        request_id = f"req_01{md5((batch_id + custom_id).encode()).hexdigest()[:22]}"
        result = {"type": "errored", "error": error_envelope(kind, message, request_id)}
    else:
        result = {"type": "weird" if answer.kind == "unknown" else answer.kind}
    return orjson.dumps({"custom_id": custom_id, "result": result}, option=orjson.OPT_APPEND_NEWLINE)
