"""Streams of server-sent events, as the realtime calls of all protocols send them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson


def events(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the data of the events of a stream; what is no JSON object is left out."""
    for line in lines:
        if line.startswith("data:"):
            try:
                found = orjson.loads(line[5:])
            except orjson.JSONDecodeError:
                continue
            if isinstance(found, dict):
                yield found
