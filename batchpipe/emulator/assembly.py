"""Assembly of the service: its store, its batches and its routes, without a server."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchpipe.emulator.answering.answers import read_answers
from batchpipe.emulator.anthropic.models import find_model
from batchpipe.emulator.anthropic.routes import AnthropicService
from batchpipe.emulator.control import Control
from batchpipe.emulator.gemini.models import find_model as find_gemini_model
from batchpipe.emulator.gemini.routes import GeminiService
from batchpipe.emulator.openai.routes import OpenAIService
from batchpipe.emulator.routes import Routes
from batchpipe.emulator.service.faults import read_rules
from batchpipe.emulator.service.protocol import ProtocolService
from batchpipe.emulator.service.rulebook import Rulebook
from batchpipe.emulator.service.store import Store


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one emulator. `routes` answers requests, `rulebook` holds the rules in force."""

    store: Store
    rulebook: Rulebook
    routes: Routes


def assemble(
    folder: Path,
    *,
    answers: Path | None = None,
    delay_seconds: float = 0.0,
    faults: Path | None = None,
    seed: int = 0,
    clock: Callable[[], float] = time.time,
    chance: random.Random | None = None,
    private: bool = False,
) -> Service:
    """Return the service whose state is in `folder`; the caller closes its store.

    `clock` returns seconds since 1970. `chance` draws the names of batches; None draws them from the operating system.
    With `private` new files are for their owner alone.
    Raises EmulatorError for a file or folder that cannot be used.
    """
    book = None if answers is None else read_answers(answers, _unknown)
    rules = None if faults is None else read_rules(faults)
    store = Store(folder, clock, chance, private=private)
    try:
        rulebook = Rulebook(store)
        if rules is not None:
            rulebook.use_rules(rules, keep_counts=True)
        # Paths do not collide. The last protocol answers what no other one takes.
        protocols: Sequence[ProtocolService] = (
            GeminiService(store, rulebook, seed, book, delay_seconds),
            OpenAIService(store, rulebook, seed, book, delay_seconds),
            AnthropicService(store, rulebook, seed, book, delay_seconds),
        )
        return Service(store, rulebook, Routes(store, rulebook, Control(store, rulebook, protocols), protocols))
    except BaseException:
        store.close()
        raise


def _unknown(model: str) -> bool:
    """Return whether no protocol can have a model of this name: a mistake in the name of one that is listed."""
    return (model.startswith("claude") and find_model(model) is None) or (
        model.startswith("gemini") and find_gemini_model(model) is None
    )
