"""What passes between the HTTP server and the routes: a request that was read, a reply to be sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `query` holds the last value of each name, `headers` lower-case names.

    `body` is a file of what was sent, or None where nothing was.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Path | None


@dataclass(slots=True)
class Reply:
    """One HTTP reply, and how badly to send it.

    `file` is sent instead of `body`. `framing` is "length", "close" (no length; the end of the connection
    ends the body), "short" (a length that is not reached), "chunked" (chunks without the last) or "reset"
    (nothing is sent). `delay_seconds` passes before anything is sent. `fault` is for the log.
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
    """A reply with a JSON body."""
    return Reply(status, orjson.dumps(value))


def html_reply(status: int) -> Reply:
    """What a proxy in between answers in its own name."""
    text = f"<html>\n<head><title>{status}</title></head>\n<body><h1>{status}</h1></body>\n</html>\n"
    return Reply(status, text.encode(), "text/html; charset=utf-8")
