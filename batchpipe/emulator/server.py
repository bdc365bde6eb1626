"""The HTTP server: it reads requests into files, and sends replies whole or broken in the way they ask for."""

import contextlib
import secrets
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from batchpipe.emulator.routes import Routes
from batchpipe.emulator.service.wire import Reply, Request

_BLOCK = 1 << 20
_REASONS = {413: "Payload Too Large", 529: "Overloaded"}


class Server(ThreadingHTTPServer):
    """The server of `routes` on loopback, with a daemon thread for each connection."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, routes: Routes, port: int, incoming: Path) -> None:
        self.routes = routes
        self.incoming = incoming
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._serving: set[threading.Thread] = set()
        self._changing = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)
        routes.base_url = f"http://127.0.0.1:{self.server_address[1]}"

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        thread = threading.current_thread()
        with self._changing:
            self._connections.add(request)
            self._serving.add(thread)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changing:
                self._connections.discard(request)
                self._serving.discard(thread)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show an error, which is a bug in the emulator, unless the client closed the connection."""
        import sys

        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """End the listening loop and every open connection."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._changing:
            threads = list(self._serving)
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(timeout=5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: calls are in the emulator's own log."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        address = urlsplit(self.path)
        body: Path | None = None
        try:
            body = self._read_body()
            reply = self.server.routes.answer(
                Request(
                    method=self.command,
                    path=unquote(address.path),
                    query=dict(parse_qsl(address.query, keep_blank_values=True)),
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=body,
                )
            )
        finally:
            if body is not None:
                body.unlink(missing_ok=True)
        if reply.delay_seconds and self.server.stopping.wait(reply.delay_seconds):
            self.close_connection = True
            return
        self._send(reply)

    def _read_body(self) -> Path | None:
        chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        length = self.headers.get("content-length", "0")
        left = int(length) if length.isdigit() else 0
        if not chunked and not left:
            return None
        path = self.server.incoming / f"{secrets.token_hex(8)}.part"
        with path.open("wb") as file:
            if chunked:
                while left := self._chunk_length():
                    self._copy(left, file)
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
            else:
                self._copy(left, file)
        return path

    def _chunk_length(self) -> int:
        line = self.rfile.readline().partition(b";")[0].strip()
        if not line:
            raise ConnectionResetError("the client hung up in the middle of its request")
        return int(line, 16)

    def _copy(self, left: int, file: Any) -> None:
        while left:
            block = self.rfile.read(min(left, _BLOCK))
            if not block:
                raise ConnectionResetError("the client hung up in the middle of its request")
            file.write(block)
            left -= len(block)

    def _send(self, reply: Reply) -> None:
        if reply.framing == "reset":
            # With a linger time of 0 the kernel sends a reset, and does not close the connection in order.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        length = len(reply.body) if reply.file is None else reply.file.stat().st_size
        self.send_response_only(reply.status, _REASONS.get(reply.status))
        self.send_header("content-type", reply.content_type)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.framing == "chunked":
            self.send_header("transfer-encoding", "chunked")
        elif reply.framing != "close":
            self.send_header("content-length", str(length))
        if reply.framing != "length":
            self.send_header("connection", "close")
            self.close_connection = True
        self.end_headers()
        if reply.file is not None:
            self.wfile.flush()
            with reply.file.open("rb") as file:
                self.connection.sendfile(file)
        elif reply.framing == "chunked":
            half = reply.body[: length // 2]
            self.wfile.write(b"%x\r\n" % len(half) + half + b"\r\n")
        else:
            self.wfile.write(reply.body[: length // 2] if reply.framing == "short" else reply.body)
