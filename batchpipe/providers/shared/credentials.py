"""Keys and base URLs as they may stand in a request."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from batchpipe.common.errors import CredentialsError


def checked_key(value: str | None, *, name: str, provider: str) -> str:
    """Return a key without the spaces around it. Raises CredentialsError where there is none, or it fits no header.

    `name` is the variable that holds it.
    """
    key = (value or "").strip()
    if not key:
        raise CredentialsError(
            f"there is no key for the provider {provider}",
            where=name,
            hint=f"Set {name} in the environment or in .env; `--emulator` needs none.",
        )
    if not re.fullmatch(r"[!-~]+", key):
        raise CredentialsError(
            f"{name} holds characters that a header cannot hold", where=name, hint="Copy the key again."
        )
    return key


def checked_url(url: str, *, name: str, example: str = "https://gateway.example/path") -> str:
    """Return a base URL. Raises CredentialsError for what is no URL; `name` is the variable that may hold it."""
    if not re.fullmatch(r"https?://[^/\s?#@]+[^\s?#@]*", url) or not _has_server(url):
        raise CredentialsError(
            f"{name}, or the base URL given, is not a URL", where=name, hint=f"Write it like {example}"
        )
    return url


def _has_server(url: str) -> bool:
    """Return whether a URL names a host, with a port that can be one."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
