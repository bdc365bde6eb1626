"""Times as the replies show them."""

from datetime import UTC, datetime


def timestamp(at: float | None, offset: float = 0.0) -> str | None:
    """Return a time as RFC 3339 in UTC, on a clock that is `offset` seconds ahead."""
    return None if at is None else datetime.fromtimestamp(at + offset, UTC).isoformat().replace("+00:00", "Z")
