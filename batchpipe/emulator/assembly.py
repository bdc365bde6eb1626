"""Assembly of the service: its store, its batches and its routes, without a server."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from batchpipe.emulator.anthropic.answering import Answerer
from batchpipe.emulator.anthropic.answers import read_answers
from batchpipe.emulator.anthropic.batches import Batches
from batchpipe.emulator.anthropic.processing import Worker
from batchpipe.emulator.control import Control
from batchpipe.emulator.routes import Routes
from batchpipe.emulator.service.faults import read_rules
from batchpipe.emulator.service.store import Store


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one emulator. `routes` answers requests, `control` holds the rules in force."""

    store: Store
    control: Control
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
    book = None if answers is None else read_answers(answers)
    rules = None if faults is None else read_rules(faults)
    store = Store(folder, clock, chance, private=private)
    try:
        worker = Worker(store, Answerer(seed, book))
        batches = Batches(store, worker, delay_seconds)
        control = Control(store, batches)
        if rules is not None:
            control.use_rules(rules, keep_counts=True)
        return Service(store, control, Routes(batches, worker, control))
    except BaseException:
        store.close()
        raise
