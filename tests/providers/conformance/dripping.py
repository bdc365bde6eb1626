"""A server whose replies come a few bytes at a time, for ever, over a real connection."""

from __future__ import annotations

import socket
import threading

PAUSE_SECONDS = 0.02


class Dripping:
    """A server that answers every call with `begun`, and then with `drop` again and again; it may read slowly too."""

    def __init__(self, begun: bytes, drop: bytes, *, reads: bool = True) -> None:
        self.begun, self.drop, self.reads = begun, drop, reads
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._over.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in self._threads:
            each.join()

    def _accept(self) -> None:
        while True:
            try:
                taken, _ = self._listening.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._talk, args=(taken,), daemon=True))
            self._threads[-1].start()

    def _talk(self, taken: socket.socket) -> None:
        with taken:
            try:
                taken.recv(65_536)
                if self.reads:
                    taken.sendall(self.begun)
                while not self._over.wait(PAUSE_SECONDS):
                    if self.reads:
                        taken.sendall(self.drop)
                    else:
                        taken.recv(4_096)
            except OSError:
                return
