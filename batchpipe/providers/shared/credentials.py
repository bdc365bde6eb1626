"""Keys, base URLs and proxies as they may stand in a request."""

from __future__ import annotations

import re
from base64 import b64encode
from importlib.util import find_spec
from urllib.parse import unquote, urlsplit

from batchpipe.common.errors import CredentialsError
from batchpipe.common.secrets import remember

_PROXIES = ("http", "https", "socks5", "socks5h")


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


def checked_proxies() -> None:
    """Let no text show the passwords of the proxies of the environment.

    Raises CredentialsError for a proxy that cannot be used: the first call would fail, and nobody could tell any more
    whether it was sent.
    """
    from urllib.request import getproxies

    found = getproxies()
    if "*" in (each.strip() for each in found.get("no", "").split(",")):
        return
    for scheme in ("http", "https", "all"):
        if found.get(scheme):
            address = found[scheme]
            _check_proxy(address if "://" in address else f"http://{address}", f"{scheme.upper()}_PROXY")


def _check_proxy(url: str, name: str) -> None:
    user, _, password = url.partition("://")[2].partition("/")[0].rpartition("@")[0].partition(":")
    plain = unquote(user), unquote(password)
    for secret in (password or user, plain[1] or plain[0], b64encode(":".join(plain).encode()).decode()):
        if user:
            remember(secret, f"<password of {name}>")
    scheme = url.partition("://")[0].lower()
    if scheme not in _PROXIES or re.search(r"\s", url) or not _has_server(url):
        hint = "Write it like http://proxy.example:8080, or unset it."
        raise CredentialsError(f"{name} is not the address of a proxy", where=name, hint=hint)
    if scheme.startswith("socks") and find_spec("socksio") is None:
        hint = "Install it: pip install socksio. Or name an http proxy."
        raise CredentialsError(f"{name} is a SOCKS proxy, which needs the package socksio", where=name, hint=hint)


def _has_server(url: str) -> bool:
    """Return whether a URL names a host, with a port that can be one."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
