"""The values that the HTTP server and the routes exchange: a request that was read, and a reply to send."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `query` has the last value of each name, `headers` has names in lower case.

    `body` is a file with the body that was sent, or None if there was none.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Path | None


@dataclass(slots=True)
class Reply:
    """One HTTP reply, and in which way to break it.

    `file` is sent in place of `body`. `framing` is "length", "close" (no length; the body ends with the connection),
    "short" (less than the length says), "chunked" (chunks without the last one) or "reset" (nothing is sent).
    `delay_seconds` is the time before anything is sent. `fault` is for the log.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict[str, str])
    file: Path | None = None
    framing: str = "length"
    delay_seconds: float = 0.0
    fault: str | None = None


def json_reply(status: int, value: Any) -> Reply:
    """Return a reply with a JSON body."""
    return Reply(status, orjson.dumps(value))


def html_reply(status: int) -> Reply:
    """Return the page of a proxy between client and service."""
    text = f"<html>\n<head><title>{status}</title></head>\n<body><h1>{status}</h1></body>\n</html>\n"
    return Reply(status, text.encode(), "text/html; charset=utf-8")
