"""Answers that a file gives: JSON lines of `{"model"?, "match", "output"}`.

A line answers a request if it has no model or the model of the request, and if its `match` is a substring of the system
prompt or a user message. A match in the last user message wins over one elsewhere; among several the first line wins.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from batchpipe.emulator.answering.texts import Texts
from batchpipe.emulator.service.errors import EmulatorError
from batchpipe.emulator.service.jsontypes import is_object

_SIZES = (10, 5, 3)
_PREFIX = re.compile(r"^(anthropic|openai|gemini):")


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """One line of the file; `model` is a name of a model, `output` an object or a string."""

    match: str
    model: str | None
    output: Any


class AnswerBook:
    """The lines of a file, indexed by the rarest short piece of each `match`."""

    def __init__(self, lines: Iterable[AnswerLine]) -> None:
        self.lines = tuple(lines)
        self._by_piece: dict[int, dict[str, list[int]]] = {}
        self._always: list[int] = []
        by_size: dict[int, list[int]] = {}
        for place, line in enumerate(self.lines):
            size = next((size for size in _SIZES if len(line.match) >= size), None)
            if size is None:
                self._always.append(place)
            else:
                by_size.setdefault(size, []).append(place)
        for size, places in by_size.items():
            self._by_piece[size] = self._rarest(size, places)
        # The requests of a batch share their system prompt, so that it is searched only once.
        self._found_elsewhere = lru_cache(maxsize=64)(self._found)

    def _rarest(self, size: int, places: list[int]) -> dict[str, list[int]]:
        counts: Counter[str] = Counter()
        for place in places:
            counts.update(_pieces_of(self.lines[place].match, size))
        index: dict[str, list[int]] = {}
        for place in places:
            pieces = sorted(_pieces_of(self.lines[place].match, size))
            index.setdefault(min(pieces, key=counts.__getitem__), []).append(place)
        return index

    def _found(self, text: str) -> tuple[int, ...]:
        candidates = list(self._always)
        for size, index in self._by_piece.items():
            for piece in index.keys() & _pieces_of(text, size):
                candidates.extend(index[piece])
        return tuple(place for place in sorted(candidates) if self.lines[place].match in text)

    def find(self, names: Collection[str], texts: Texts) -> AnswerLine | None:
        """Return the line that answers a request for the model of these names; None if there is none."""
        for places in (self._found(texts.last), self._found_elsewhere(texts.other)):
            for place in places:
                line = self.lines[place]
                if line.model is None or line.model in names:
                    return line
        return None


def _pieces_of(text: str, size: int) -> set[str]:
    return {text[start : start + size] for start in range(len(text) - size + 1)}


def read_answers(path: Path, unknown: Callable[[str], bool]) -> AnswerBook:
    """Return the answers in a file; `unknown` says of the name of a model that no protocol can have it.

    Raises EmulatorError that names the file and the line.
    """
    try:
        text = path.read_bytes()
    except OSError as problem:
        raise EmulatorError(f"{path}: {problem.strerror}") from problem
    lines = [
        _line(f"{path}:{number}", line, unknown)
        for number, line in enumerate(text.split(b"\n"), start=1)
        if line.strip()
    ]
    return AnswerBook(lines)


def _line(where: str, text: bytes, unknown: Callable[[str], bool]) -> AnswerLine:
    try:
        found: object = orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        raise EmulatorError(f"{where}: not JSON: {problem}") from problem
    if not is_object(found):
        raise EmulatorError(f'{where}: expected an object {{"model"?, "match", "output"}}')
    for name in found:
        if name not in ("model", "match", "output"):
            raise EmulatorError(f"{where}: unknown key {name!r}; known are 'model', 'match', 'output'")
    match, model, output = found.get("match"), found.get("model"), found.get("output")
    if not isinstance(match, str):
        raise EmulatorError(f"{where}: 'match' must be a string")
    if not isinstance(output, str) and not is_object(output):
        raise EmulatorError(f"{where}: 'output' must be an object or a string")
    if model is None:
        return AnswerLine(match, None, output)
    if not isinstance(model, str):
        raise EmulatorError(f"{where}: 'model' must be a string")
    name = _PREFIX.sub("", model)
    if unknown(name):
        raise EmulatorError(f"{where}: unknown model {model!r}")
    return AnswerLine(match, name, output)
