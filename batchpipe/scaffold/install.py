"""How a CI job installs batchpipe: from the address that pip recorded, where others can reach it."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import urlsplit, urlunsplit

# A shell fails with these words where nobody has set the variable.
FROM_VARIABLE = 'pip install "${BATCHPIPE_WHEEL:?a wheel or git address}"'


def recorded_address() -> str | None:
    """Return what pip recorded of the address batchpipe was installed from, as JSON; None where it recorded none.

    Source: the file `direct_url.json` of the installed distribution (PEP 610).
    """
    try:
        return distribution("batchpipe").read_text("direct_url.json")
    except PackageNotFoundError:
        return None


def install_command(recorded: str | None) -> str:
    """Return the shell command that installs batchpipe from the address in `recorded` (PEP 610).

    An address that only this machine has (a folder, a file), or none, gives a command that takes the address from the
    variable BATCHPIPE_WHEEL. Names and passwords in an address are left out.
    """
    try:
        found = json.loads(recorded or "{}")
        address = urlsplit(str(found.get("url", "")))
        revision = found.get("vcs_info", {}).get("commit_id")
        system = found.get("vcs_info", {}).get("vcs", "git")
    except (ValueError, AttributeError):
        return FROM_VARIABLE
    if address.scheme not in ("http", "https", "ssh") or not address.hostname:
        return FROM_VARIABLE
    port = f":{address.port}" if address.port else ""
    user = "git@" if address.scheme == "ssh" else ""
    plain = urlunsplit((address.scheme, f"{user}{address.hostname}{port}", address.path, "", ""))
    return f"pip install {shlex.quote(f'{system}+{plain}@{revision}' if revision else plain)}"
