"""Let in only who may see the pages: by a cookie or a proxy's headers, from the right host, and from our own pages.

The guard stands before every route. A page has no inline script and no inline style, and loads nothing from outside.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
OWN_HEADER = "x-batchpipe"
SECRET_HEADER = "x-batchpipe-proxy"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SAFE_METHODS = ("GET", "HEAD")
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"x-frame-options": b"DENY",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Says who is let in.

    `secret` makes the cookie, `token` is what the printed URL brings. Behind a proxy `public_url` is where people see
    the pages, `person_header` names the person, and `proxy_secret` is what only the proxy knows.
    """

    secret: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    read_only: bool = False
    public_url: str | None = None
    person_header: str | None = None
    proxy_secret: str | None = None

    def cookie(self, port: int) -> tuple[str, str]:
        """Return the name and the value of the cookie; its name holds the port, because cookies do not know ports."""
        value = hmac.new(self.secret.encode(), f"batchpipe {port}".encode(), hashlib.sha256).hexdigest()
        return f"batchpipe_{port}", value


class Guard:
    """Stands before the application, and answers in its place where somebody may not see it."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app = app
        self.door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it. Every answer has the headers that keep a page to itself."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(each for each in HEADERS.items() if each[0] not in own)]
                if b"cache-control" not in own:
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        request = HTTPConnection(scope)
        answer = self._refusal(request, scope["method"])
        if answer is not None:
            await answer(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)

    def _refusal(self, request: HTTPConnection, method: str) -> Response | None:
        """Return the answer to a request that is not let in; None for one that is."""
        if (refused := self._foreign_host(request)) is not None:
            return refused
        known = self._by_proxy(request) if self.door.public_url is not None else self._by_cookie(request)
        if known is not None:
            return known
        if method in SAFE_METHODS:
            return None
        if self.door.read_only:
            return PlainTextResponse("These pages were started with --read-only: nothing is recorded.\n", 403)
        if request.headers.get("origin") != self._origin(request) or OWN_HEADER not in request.headers:
            return PlainTextResponse("A write must come from a page of batchpipe itself.\n", 403)
        return None

    def _foreign_host(self, request: HTTPConnection) -> Response | None:
        host = _name(request.headers.get("host", ""))
        allowed: tuple[str, ...] = LOOPBACK
        if self.door.public_url is not None:
            allowed = (*LOOPBACK, urlsplit(self.door.public_url).hostname or "")
        if host in allowed:
            return None
        shown = host if host.isprintable() and len(host) < 200 else "that name"
        words = (
            f"These pages are not served as {shown!r}. Behind a proxy: batchpipe serve --public-url https://{shown}\n"
        )
        return PlainTextResponse(words, 421)

    def _by_cookie(self, request: HTTPConnection) -> Response | None:
        """Return None for who has the cookie, a redirect with the cookie for who has the token, else a refusal."""
        name, value = self.door.cookie(_port(request))
        given = request.query_params.get("token")
        if given is not None:
            if not hmac.compare_digest(given.encode(), self.door.token.encode()):
                return PlainTextResponse("The token is wrong: use the URL that batchpipe ui has printed.\n", 403)
            rest = request.url.remove_query_params("token")
            answer = RedirectResponse(_local(rest.path, rest.query), 303)
            answer.set_cookie(name, value, httponly=True, samesite="strict", path="/")
            return answer
        shown = request.cookies.get(name, "")
        if hmac.compare_digest(shown.encode(), value.encode()):
            return None
        return PlainTextResponse("Open the URL that batchpipe ui has printed: it lets you in.\n", 401)

    def _by_proxy(self, request: HTTPConnection) -> Response | None:
        secret = self.door.proxy_secret or ""
        for name in (SECRET_HEADER, self.door.person_header or ""):
            if len(request.headers.getlist(name)) > 1:  # one of them may be the visitor's own
                words = f"{name} came more than once: the proxy must replace what a visitor sends.\n"
                return PlainTextResponse(words, 401)
        given = request.headers.get(SECRET_HEADER, "")
        if not secret or not hmac.compare_digest(given.encode(), secret.encode()):
            words = f"Only the proxy may ask: it sends {SECRET_HEADER} with the value of BATCHPIPE_PROXY_SECRET.\n"
            return PlainTextResponse(words, 401)
        if not person_of(request.headers, self.door):
            return PlainTextResponse(f"The proxy did not say who asks: {self.door.person_header} is empty.\n", 401)
        return None

    def _origin(self, request: HTTPConnection) -> str:
        """Return where our own pages are."""
        if self.door.public_url is not None:
            found = urlsplit(self.door.public_url)
            return f"{found.scheme}://{found.netloc}"
        return f"http://{request.headers.get('host', '')}"


def person_of(headers: Mapping[str, str], door: Door) -> str | None:
    """Return who asks, as the proxy says it; None without a proxy."""
    if door.public_url is None or door.person_header is None:
        return None
    given = headers.get(door.person_header, "").strip()
    with contextlib.suppress(UnicodeError):  # names are sent as UTF-8, and headers are read as Latin-1
        given = given.encode("latin-1").decode("utf-8")
    return given[:200] or None


def _name(host: str) -> str:
    """Return a Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _port(request: HTTPConnection) -> int:
    server = request.scope.get("server")
    return server[1] if server and server[1] else 0


def _local(path: str, query: str) -> str:
    """Return a path of our own, also for one that begins like another host."""
    return "/" + path.lstrip("/\\") + (f"?{query}" if query else "")
