"""The network between a machine and the provider: a transport of the SDK's HTTP client, without a socket."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import md5
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import httpx2

from batchpipe.emulator.service.wire import Reply, Request

from .disk import unwatched
from .world import KilledError, World

RESULTS = re.compile(r"/results$|/content$|:download")

Answer = Callable[[Request], Reply]


class Body(httpx2.SyncByteStream):
    """The body of a reply as it comes; it may break off, and the machine may die within it."""

    def __init__(self, world: World, content: bytes, *, broken: bool, name: str) -> None:
        self.world, self.content, self.broken, self.name = world, content, broken, name

    def __iter__(self) -> Iterator[bytes]:
        if not self.broken and not RESULTS.search(self.name):
            yield self.content
            return
        middle = len(self.content) // 2
        yield self.content[:middle]
        self.world.reached(f"middle of {self.name}")
        if self.broken:
            raise httpx2.RemoteProtocolError("peer closed connection without sending complete message body")
        yield self.content[middle:]


class Wire(httpx2.BaseTransport):
    """The transport of one command. `answer` is the provider, `provider_time` its clock (seconds since 1970)."""

    def __init__(
        self, world: World, answer: Answer, provider_time: Callable[[], float], incoming: Path, dead: Callable[[], bool]
    ) -> None:
        self.world, self.answer, self.provider_time, self.incoming, self.dead = (
            world, answer, provider_time, incoming, dead
        )  # fmt: skip

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Carry one request to the provider, and its reply back. Raises KilledError on a dead machine."""
        if self.dead():
            raise KilledError
        name = f"{request.method} {request.url.raw_path.decode()}"
        self.world.reached(f"before {name}")
        self.world.called()
        if self.dead():
            raise KilledError
        with unwatched():
            reply = self._answered(request)
        sent = md5(_without_boundary(request)).hexdigest()[:8]
        self.world.say(f"    {sent} -> {reply.status} {reply.fault or ''} {len(reply.body)}")
        self.world.reached(f"after {name}")
        timeout = float(request.extensions.get("timeout", {}).get("read") or 600.0)
        self.world.now += min(reply.delay_seconds, timeout) + 0.05
        if reply.delay_seconds > timeout:
            raise httpx2.ReadTimeout("the read operation timed out", request=request)
        if reply.framing == "reset":
            raise httpx2.ReadError("[Errno 104] Connection reset by peer", request=request)
        return self._response(request, reply, name)

    def _answered(self, request: httpx2.Request) -> Reply:
        content = request.read()
        path = None
        if content:
            path = self.incoming / "request.part"
            path.write_bytes(content)
        try:
            return self.answer(
                Request(
                    method=request.method,
                    path=unquote(request.url.path),
                    query=dict(parse_qsl(request.url.query.decode(), keep_blank_values=True)),
                    headers={name.lower(): value for name, value in request.headers.items()},
                    body=path,
                )
            )
        finally:
            if path is not None:
                path.unlink(missing_ok=True)

    def _response(self, request: httpx2.Request, reply: Reply, name: str) -> httpx2.Response:
        content = reply.body
        if reply.file is not None:
            with unwatched():
                content = reply.file.read_bytes()
        headers = {"content-type": reply.content_type, **reply.headers}
        moment = datetime.fromtimestamp(int(self.provider_time()), UTC)
        headers.setdefault("date", format_datetime(moment, usegmt=True))
        if reply.framing not in ("chunked", "close"):
            headers["content-length"] = str(len(content))
        broken = reply.framing in ("short", "chunked")
        body = Body(self.world, content, broken=broken, name=name)
        return httpx2.Response(reply.status, headers=headers, stream=body, request=request)


def _without_boundary(request: httpx2.Request) -> bytes:
    """Return the body; the boundary between the parts of an upload is drawn anew by the client each time."""
    boundary = request.headers.get("content-type", "").partition("boundary=")[2].encode()
    return request.read().replace(boundary, b"") if boundary else request.read()
