"""Serve the application with uvicorn, on loopback or a Unix socket, until an interrupt."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from batchpipe.common import modes
from batchpipe.common.errors import UsageError
from batchpipe.store.disk import disk_error

HOST = "127.0.0.1"
BACKLOG = 256
SECONDS_TO_END = 1
SECRET_BYTES = 32


def listening(port: int) -> socket.socket:
    """Return a socket that listens on loopback; port 0 takes a free one. Raises UsageError for a port in use."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
    except (OSError, OverflowError) as error:
        found.close()
        hint = "Take a free one: --port 0"
        raise UsageError(f"port {port} cannot be used: {error}", where="--port", hint=hint) from error
    found.listen(BACKLOG)
    return found


def listening_or_free(port: int | None, usual: int) -> socket.socket:
    """Return a socket on `port`; without one on the usual port, or on a free one where that is in use."""
    if port is not None:
        return listening(port)
    try:
        return listening(usual)
    except UsageError:
        return listening(0)


def listening_at(path: Path) -> socket.socket:
    """Return a Unix socket that only its owner and his group can use. Raises UsageError where it cannot be made."""
    _refuse_if_served(path)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)
    try:
        if path.is_socket():
            path.unlink()
        found.bind(str(path))
    except OSError as error:
        found.close()
        what = f"no socket can be made there: {error}"
        raise UsageError(what, where=f"--uds {path}", hint="Name another.") from error
    finally:
        os.umask(before)
    found.listen(BACKLOG)
    return found


def _refuse_if_served(path: Path) -> None:
    """Raise UsageError where another process listens at a socket; what a process left that was killed may go."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        try:
            visitor.connect(str(path))
        except OSError:
            return
    raise UsageError("another process serves there", where=f"--uds {path}", hint="End it, or name another.")


def kept_secret(folder: Path, name: str = "ui_secret") -> str:
    """Return the secret that makes cookies, from a file for its owner alone; made where there is none.

    A server that is started again so knows the browsers of before. A file that others can read, or that holds too
    little, is replaced. Raises DatabaseError where it cannot be kept.
    """
    path = folder / name
    try:
        modes.make_folder(folder, below=folder)
        if not _holds_secret(path):
            part = folder / f"{name}.{secrets.token_hex(8)}"
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, modes.PRIVATE_FILE)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(secrets.token_hex(SECRET_BYTES))
            part.replace(path)
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise disk_error(error, path) from error


def _holds_secret(path: Path) -> bool:
    """Return whether a file holds a whole secret that only its owner can read."""
    try:
        return path.stat().st_mode & 0o077 == 0 and len(path.read_bytes().strip()) >= 2 * SECRET_BYTES
    except FileNotFoundError:
        return False


def serve(app: ASGIApp, sockets: socket.socket, started: Callable[[], None]) -> None:
    """Serve until an interrupt or a polite kill, then end within two seconds. `started` is called once it answers."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="error",
        access_log=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=SECONDS_TO_END,
        server_header=False,
        date_header=False,
        h11_max_incomplete_event_size=65_536,
    )
    server = _Server(config, started)
    server.run(sockets=[sockets])


def show_in_browser(url: str) -> None:
    """Open the person's browser, without waiting for it."""
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


class _Server(uvicorn.Server):
    """A server that says when it answers, and leaves the signals to the command line once it has ended."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._say = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        self._say()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """End at the first signal; connections that are open get a second."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
