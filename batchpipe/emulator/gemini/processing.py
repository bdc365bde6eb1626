"""Processing of a batch: its lines are read from their file, and the answers are written to a file of results."""

import random
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path

import orjson

from batchpipe.emulator.answering.carried import CarriedState, carried_state
from batchpipe.emulator.gemini.answering import Answer, Answerer
from batchpipe.emulator.gemini.models import Model, find_model
from batchpipe.emulator.gemini.tables import Batch
from batchpipe.emulator.service.faults import Rules
from batchpipe.emulator.service.jsontypes import JsonObject, is_object
from batchpipe.emulator.service.pieces import line_pieces, share_of, unordered
from batchpipe.emulator.service.store import Store


@dataclass
class WorkedBatch:
    """The outcome of a batch whose results are written, but whose end is not recorded yet."""

    succeeded: int
    failed: int
    state: CarriedState


class BadLineError(Exception):
    """A line of the input cannot be read, so that the whole batch fails. `number` counts from 1."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Failed to parse the input file: line {number} is not a valid request.")
        self.number = number


class Worker:
    """The worker that answers the batches and realtime calls of one emulator."""

    def __init__(self, store: Store, answerer: Answerer) -> None:
        self._store = store
        self._answerer = answerer

    def work(self, batch: Batch, source: Path, target: Path, rules: Rules, finished: float) -> WorkedBatch:
        """Write the results of a batch; the caller records its end.

        `finished` is the share of requests that are answered; the others have no line. Raises BadLineError.
        """
        model = find_model(batch.model)
        assert model is not None
        pieces = line_pieces(source)
        shuffle = random.Random(batch.requests)
        shuffle.shuffle(pieces)
        worked = WorkedBatch(0, 0, carried_state(self._store, rules))
        numbers = _first_numbers(source)
        part = target.with_suffix(".part")
        with source.open("rb") as body, part.open("wb") as results:
            for offset, length in pieces:
                body.seek(offset)
                lines: list[bytes] = []
                for place, line in enumerate(body.read(length).splitlines()):
                    if line.strip():
                        lines += self._line(batch, model, line, numbers[offset] + place, finished, worked)
                results.writelines(unordered(lines, shuffle))
        self._store.put(part, target)
        return worked

    def _line(
        self, batch: Batch, model: Model, line: bytes, number: int, finished: float, worked: WorkedBatch
    ) -> list[bytes]:
        """Return the line of results for a line of the input, or none where it is not answered."""
        try:
            found: object = orjson.loads(line)
        except orjson.JSONDecodeError as problem:
            raise BadLineError(number) from problem
        if not is_object(found) or set(found) - {"key", "request"} or not is_object(found.get("request")):
            raise BadLineError(number)
        key = str(found.get("key", ""))
        if finished < 1 and not (finished > 0 and share_of(key) < finished):
            return []
        state = worked.state
        answer = self._answerer.answer(
            found["request"], model, batch.name + key, state.outcomes, state.cache, batch=True
        )
        if answer.response is not None:
            worked.succeeded += 1
        else:
            worked.failed += 1
        return [_result_line(batch.name, key, answer)]

    def single(self, request: object, model: Model, unique: str, rules: Rules) -> Answer:
        """Answer one realtime call."""
        with self._store.processing():
            state = carried_state(self._store, rules)
            answer = self._answerer.answer(request, model, unique, state.outcomes, state.cache, batch=False)
            with self._store.transaction() as connection:
                state.save(connection)
        return answer


def _first_numbers(path: Path) -> dict[int, int]:
    """Return the number of the first line, from 1, at each offset of a piece."""
    starts = {offset for offset, _ in line_pieces(path)}
    found, offset = {}, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if offset in starts:
                found[offset] = number
            offset += len(line)
    return found


def _result_line(batch: str, key: str, answer: Answer) -> bytes:
    """Return a line of results. A failed one has an `error`, or a `status`: the service is known to write both."""
    line: JsonObject = {"key": key}
    if answer.response is not None:
        line["response"] = answer.response
    elif answer.error is not None:
        name = "error" if md5(f"{batch}{key}".encode()).digest()[0] % 2 else "status"
        line[name] = answer.error.in_line()
    else:
        line["weird"] = {}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
