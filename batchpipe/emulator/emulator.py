"""The one class that users of the emulator meet."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from batchpipe.emulator.service.errors import EmulatorError

if TYPE_CHECKING:
    from typing import Self

    from batchpipe.emulator.server import Server
    from batchpipe.emulator.service.store import Store


class Emulator:
    """A Message Batches service on loopback.

    `folder` holds all of its state; any number of emulators, in one or several processes, may share it.
    `port` 0 takes a free one. `answers` and `faults` are files; faults stay in force in the folder until
    others replace them, and the same file given again goes on counting. Any API key is taken but one that
    begins "invalid"; its workspace is what follows an '@' in it, else "default". Clock, faults, log and
    strangers are under /emulator/ (see `control`). A batch does not end before
    `delay_seconds`, nor at the first look at it. Raises EmulatorError for a file, folder or
    port it cannot use.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        answers: Path | None = None,
        delay_seconds: float = 0.0,
        faults: Path | None = None,
        seed: int = 0,
    ) -> None:
        self._folder = folder
        self._port = port
        self._answers = answers
        self._delay_seconds = delay_seconds
        self._faults = faults
        self._seed = seed
        self._server: Server | None = None
        self._store: Store | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT` while it serves."""
        if self._server is None:
            raise RuntimeError("the emulator is not started")
        return self._server.routes.base_url

    def start(self) -> Self:
        """Begins to serve; does nothing when it does already."""
        if self._server is not None:
            return self
        # Loaded here so that naming the class costs nothing.
        from batchpipe.emulator.anthropic.answering import Answerer
        from batchpipe.emulator.anthropic.answers import read_answers
        from batchpipe.emulator.anthropic.batches import Batches
        from batchpipe.emulator.anthropic.processing import Worker
        from batchpipe.emulator.control import Control
        from batchpipe.emulator.routes import Routes
        from batchpipe.emulator.server import Server
        from batchpipe.emulator.service.faults import read_rules
        from batchpipe.emulator.service.store import Store

        book = None if self._answers is None else read_answers(self._answers)
        rules = None if self._faults is None else read_rules(self._faults)
        store = Store(self._folder)
        try:
            worker = Worker(store, Answerer(self._seed, book))
            batches = Batches(store, worker, self._delay_seconds)
            control = Control(store, batches)
            if rules is not None:
                control.use_rules(rules, keep_counts=True)
            try:
                server = Server(Routes(batches, worker, control), self._port, self._folder / "incoming")
            except OSError as problem:
                raise EmulatorError(f"port {self._port}: {problem.strerror}") from problem
        except BaseException:
            store.close()
            raise
        self._store, self._server = store, server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="emulator", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the service and every open connection; does nothing when it is not started."""
        server, store, thread = self._server, self._store, self._thread
        self._server = self._store = self._thread = None
        if server is not None:
            server.stop()
        if thread is not None:
            thread.join()
        if store is not None:
            store.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
