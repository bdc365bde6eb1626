"""Read values out of a provider's reply. A number, time or text that cannot be right is unknown (None), and raises
nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypedDict

from batchpipe.common.secrets import redacted

_EARLIEST = datetime(2020, 1, 1)  # noqa: DTZ001
_LATEST = datetime(2100, 1, 1)  # noqa: DTZ001
_MOST_REQUESTS = 1_000_000_000
_MOST_KINDS = 20
_LONGEST_HEADER = 200
_LONGEST_STATE = 40
# So much of a text is searched for keys: more than is shown of any.
_SEARCHED = 65_536
_LONGEST_WAIT_SECONDS = 3600.0
_WHOLE = re.compile(r"[0-9]{1,12}")
_BATCH_ID = re.compile(r"[!-~]{1,200}")


class AccountWords(TypedDict):
    """Says whose account a reply names, and when it was made by the provider's clock (naive UTC)."""

    organization: str | None
    workspace: str | None
    answered_at: datetime | None


def batch_id(value: Any) -> str | None:
    """Return `value` where it can be the id of a batch: 1 to 200 visible ASCII characters."""
    return value if isinstance(value, str) and _BATCH_ID.fullmatch(value) else None


def utc_moment(value: Any) -> datetime | None:
    """Return an RFC 3339 time as naive UTC; None for anything else, and for a time before 2020 or after 2099."""
    if not isinstance(value, str):
        return None
    try:
        return _in_range(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        return None


def http_date(value: str | None) -> datetime | None:
    """Return the time of an HTTP header as naive UTC (RFC 9110, 5.6.7); None for anything else."""
    try:
        return _in_range(parsedate_to_datetime(value)) if value else None
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _in_range(found: datetime) -> datetime | None:
    naive = found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
    return naive if _EARLIEST <= naive < _LATEST else None


def counts(value: Any) -> tuple[dict[str, int], int | None]:
    """Return the counts of a batch that are numbers, and their sum; None where not all are, or the sum is 0."""
    if not isinstance(value, dict) or len(value) > _MOST_KINDS:
        return {}, None
    good = {words(name): each for name, each in value.items() if _is_count(each)}
    return good, (sum(good.values()) or None) if len(good) == len(value) else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_REQUESTS


def header(headers: Mapping[str, str], name: str) -> str | None:
    """Return a header without the characters that cannot be shown or stored; None where it is missing or empty."""
    return plain(headers.get(name) or "", _LONGEST_HEADER) or None


def header_words(headers: Mapping[str, str], name: str) -> str | None:
    """Return a header that is only shown, without the values of keys; None where it is missing or empty."""
    return words(headers.get(name) or "", _LONGEST_HEADER) or None


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of the header `retry-after`, an hour at most; None without a usable one.

    It has seconds or an HTTP date (RFC 9110, 10.2.3). A date counts from the date of the reply, which is by the same
    clock. Some providers give thousandths of a second beside it, in `retry-after-ms`, which count before it.
    """
    thousandths = headers.get("retry-after-ms", "")
    if _WHOLE.fullmatch(thousandths):
        return min(int(thousandths) / 1_000, _LONGEST_WAIT_SECONDS)
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        until = http_date(value)
        if until is None:
            return None
        seconds = (until - (http_date(headers.get("date")) or datetime.now(UTC).replace(tzinfo=None))).total_seconds()
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)


def reported_usd(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what a gateway says that a call cost, as the member of a line that holds it; {} where it says nothing.

    Source: https://docs.litellm.ai/docs/proxy/response_headers
    """
    found = header(headers, "x-litellm-response-cost")
    return {} if found is None else {"reported_usd": found}


def state_word(value: Any) -> str:
    """Return the word for a state that is not known. What is no text is named by its kind: a list may be so deep that
    it has no text.
    """
    return words(value if isinstance(value, str) else "null" if value is None else type(value).__name__, _LONGEST_STATE)


def words(text: str, most: int = 500) -> str:
    """Return what a provider says as `plain` does, without the values of keys.

    They are taken out first: of one that stands where the text is cut, the rest would not be known for a key.
    """
    return plain(redacted(text[:_SEARCHED]), most)


def words_of(body: bytes, most: int = 500) -> str:
    """Return the words of a body that is not understood."""
    return words(body[:_SEARCHED].decode("utf-8", "replace"), most)


def plain(text: str, most: int = 500) -> str:
    """Return `text` on one line without control characters and halves of surrogate pairs, `most` characters at most."""
    shown = "".join(each if each.isprintable() else " " for each in text[: 4 * most])
    return " ".join(shown.split())[:most]
