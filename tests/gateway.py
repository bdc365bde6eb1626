"""A gateway in front of the emulator: another path, its own key in a header of its own, its own names of models."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PREFIX = "/anthropic"
PASSED = ("content-type", "anthropic-version")
OWN = ("x-litellm-response-cost",)
# The gateway's own names of models, and the usual ones.
NAMES = {"anthropic/claude-haiku-4.5": "claude-haiku-4-5"}


@dataclass(kw_only=True)
class Gateway:
    """Passes calls below `PREFIX` on to `behind`. `keys` are those that it takes, in `x-api-key` alone.

    `calls` are the calls that came: method, path, headers in lower case. `models` are those that batches named.
    Without `batches` there is no batch endpoint. `answers_as` replaces the model in what comes back. `costs` is
    what it says that each answer cost: in the usage of a line, and in a header of a realtime call.
    """

    behind: str
    keys: tuple[str, ...] = ("gateway-key",)
    batches: bool = True
    answers_as: str | None = None
    costs: str | None = None
    calls: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    models: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gateway.answer(self, None)

            def do_POST(self) -> None:
                gateway.answer(self, self.rfile.read(int(self.headers.get("content-length") or 0)))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{PREFIX}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, call: BaseHTTPRequestHandler, body: bytes | None) -> None:
        """Pass one call on, and its reply back."""
        headers = {name.lower(): value for name, value in call.headers.items()}
        self.calls.append((call.command, call.path, headers))
        if not call.path.startswith(PREFIX + "/") or (not self.batches and "/batches" in call.path):
            self._reply(call, 404, b'{"type":"error","error":{"type":"not_found_error","message":"no such page"}}')
            return
        key = headers.get("x-api-key", "")
        if key not in self.keys or "authorization" in headers:
            message = b'{"type":"error","error":{"type":"authentication_error","message":"bad key"}}'
            self._reply(call, 401, message)
            return
        if body:
            asked = json.loads(body)
            self.models |= {each["params"]["model"] for each in asked.get("requests", [])}
            for own, usual in NAMES.items():
                body = body.replace(own.encode(), usual.encode())
        passed = {name: value for name, value in headers.items() if name in PASSED}
        request = urllib.request.Request(
            self.behind + call.path.removeprefix(PREFIX),
            data=body,
            headers={**passed, "x-api-key": key},
            method=call.command,
        )
        try:
            with urllib.request.urlopen(request) as reply:
                headers = reply.headers
                if self.costs is not None and call.path.endswith("/messages"):
                    headers["x-litellm-response-cost"] = self.costs
                self._reply(call, reply.status, self._named(reply.read()), headers)
        except urllib.error.HTTPError as error:
            self._reply(call, error.code, error.read(), error.headers)

    def _named(self, body: bytes) -> bytes:
        if (self.answers_as or self.costs) is None or b'"custom_id"' not in body:
            return body
        lines = [json.loads(line) for line in body.splitlines()]
        for each in lines:
            message = each["result"].get("message", {})
            if message and self.answers_as is not None:
                message["model"] = self.answers_as
            if message and self.costs is not None:
                message["usage"]["cost"] = float(self.costs)
        return b"".join(json.dumps(each).encode() + b"\n" for each in lines)

    @staticmethod
    def _reply(call: BaseHTTPRequestHandler, status: int, body: bytes, headers: Any = None) -> None:
        call.send_response(status)
        for name in ("content-type", "anthropic-organization-id", "anthropic-workspace-id", *OWN, "request-id"):
            if headers is not None and headers.get(name):
                call.send_header(name, headers[name])
        call.send_header("content-length", str(len(body)))
        call.end_headers()
        call.wfile.write(body)
