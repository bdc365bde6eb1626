"""The class `Emulator`, the only one that users of the emulator need."""

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
    """The batch and realtime services of several providers on loopback, at one address.

    `folder` holds all of its state; any number of emulators, in one or several processes, may share it. `port` 0 takes
    a free port. `answers` and `faults` are files. Faults stay in force in the folder until others replace them; if the
    same file is given again, the counts of its rules go on. Every API key is accepted except one that begins with
    "invalid"; its workspace is the text after an '@' in it, else "default". The clock, faults, log and strangers are
    under /emulator/ (see `control`). A batch ends after `delay_seconds`, and not before it was retrieved twice. Raises
    EmulatorError for a file, folder or port that it cannot use. With `private` new files are for their owner alone.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        answers: Path | None = None,
        delay_seconds: float = 0.0,
        faults: Path | None = None,
        seed: int = 0,
        private: bool = False,
    ) -> None:
        self._folder = folder
        self._port = port
        self._answers = answers
        self._delay_seconds = delay_seconds
        self._faults = faults
        self._seed = seed
        self._private = private
        self._server: Server | None = None
        self._store: Store | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT`. Raises RuntimeError if the emulator is not started."""
        if self._server is None:
            raise RuntimeError("the emulator is not started")
        return self._server.routes.base_url

    def start(self) -> Self:
        """Begin to serve. Does nothing if the emulator is started already."""
        if self._server is not None:
            return self
        # Imported here, so that to import the class alone takes no time.
        from batchpipe.emulator.assembly import assemble
        from batchpipe.emulator.server import Server

        service = assemble(
            self._folder,
            answers=self._answers,
            delay_seconds=self._delay_seconds,
            faults=self._faults,
            seed=self._seed,
            private=self._private,
        )
        try:
            server = Server(service.routes, self._port, self._folder / "incoming")
        except BaseException as problem:
            service.store.close()
            if isinstance(problem, OSError):
                raise EmulatorError(f"port {self._port}: {problem.strerror}") from problem
            raise
        self._store, self._server = service.store, server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="emulator", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the service and every open connection. Does nothing if the emulator is not started."""
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
