"""Name what `pip install` gets in a new project's CI: the address that batchpipe itself was installed from."""

from __future__ import annotations

import json
import re
import shlex
from importlib import metadata
from typing import Any
from urllib.parse import SplitResult, urlsplit

UNKNOWN = '"${BATCHPIPE_WHEEL:?a wheel or git address}"'
ADDRESS = re.compile(r"[A-Za-z0-9._~:/@!$&'()*+,;=%\[\]-]+")
COMMIT = re.compile(r"[A-Za-z0-9._-]+")
SUBDIRECTORY = re.compile(r"[A-Za-z0-9._/-]+")


def installed_address() -> str:
    """Return the word after `pip install`, quoted for a shell, for the batchpipe that runs now."""
    try:
        return install_address(metadata.distribution("batchpipe"))
    except metadata.PackageNotFoundError:
        return UNKNOWN


def install_address(distribution: metadata.Distribution) -> str:
    """Return the word after `pip install` for `distribution`, or `UNKNOWN` where no other machine can use its address.

    Source: the file `direct_url.json` of the PyPA specification "Recording the Direct URL Origin". Neither a
    folder of this machine nor a user, password or signed query of the address is returned.
    """
    try:
        recorded = json.loads(distribution.read_text("direct_url.json") or "{}")
        parts = urlsplit(recorded["url"])
        address = _repository(parts, recorded) if "vcs_info" in recorded else _archive(parts, recorded)
    except (ValueError, KeyError, TypeError, AttributeError):
        return UNKNOWN
    return UNKNOWN if address is None else shlex.quote(address)


def _repository(parts: SplitResult, recorded: dict[str, Any]) -> str | None:
    info = recorded["vcs_info"]
    plain = _without_credentials(parts, ("https", "http", "ssh"))
    if plain is None or info["vcs"] != "git" or not COMMIT.fullmatch(info["commit_id"]):
        return None
    return f"git+{plain}@{info['commit_id']}{_subdirectory(recorded)}"


def _archive(parts: SplitResult, recorded: dict[str, Any]) -> str | None:
    plain = _without_credentials(parts, ("https", "http"))
    return None if plain is None or "archive_info" not in recorded else plain + _subdirectory(recorded)


def _subdirectory(recorded: dict[str, Any]) -> str:
    folder = recorded.get("subdirectory")
    if folder is None:
        return ""
    if not SUBDIRECTORY.fullmatch(folder):
        raise ValueError(folder)
    return f"#subdirectory={folder}"


def _without_credentials(parts: SplitResult, schemes: tuple[str, ...]) -> str | None:
    """Return the address without user and password; SSH keeps the user `git`, which is no secret."""
    user, _, host = parts.netloc.rpartition("@")
    if parts.scheme not in schemes or not host or parts.query:
        return None
    kept = "git@" if parts.scheme == "ssh" and user.split(":")[0] == "git" else ""
    address = f"{parts.scheme}://{kept}{host}{parts.path}"
    return address if ADDRESS.fullmatch(address) else None
