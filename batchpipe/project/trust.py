"""Decide which key may be sent to which address.

A key of the environment goes to an address that the environment names too, and to the provider's own. A file of the
repository may be written by somebody else, so that any other pair of a key's variable and an address has to be
confirmed by the person: at a terminal, or with the variable BATCHPIPE_TRUST of the process.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from batchpipe.common.errors import CredentialsError, UsageError

VARIABLE = "BATCHPIPE_TRUST"
DEFAULT_PORTS = {"https": 443, "http": 80}
# Where a value stands: in the provider's own definition, in the process's environment (or a `.env` that git does not
# track), or in a file that anybody who may write to the repository can change.
Place = Literal["provider", "environment", "repository"]

_PAIR = re.compile(r"(?P<variable>[A-Za-z_][A-Za-z0-9_]*)@(?P<address>https?://.+)")
_HOST = re.compile(r"[A-Za-z0-9._~:-]+")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# A URL's beginning whose variables are the address itself: all of it, or a whole host or port.
_ADDRESS = re.compile(
    r"(\$\{\w+\}|https?://(\$\{\w+\}|[A-Za-z0-9._~\[\]:-]+?)(:(\$\{\w+\}|[0-9]+))?)(?=/|$)", re.IGNORECASE
)
_WHOLE_ADDRESS = re.compile(r"https?://[A-Za-z0-9._~:\[\]-]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A key and the URL that it would be sent to, each with the place that names it."""

    variable: str
    key_place: Place
    url: str
    url_place: Place

    @property
    def pair(self) -> str:
        """Return the pair as a person confirms it: `VARIABLE@scheme://host:port`, without a port that is the usual."""
        return f"{self.variable}@{address_of(self.url)}"

    @property
    def is_safe(self) -> bool:
        """Return whether the key may be sent without a question."""
        named_together = self.key_place == "environment" and self.url_place in ("environment", "provider")
        return named_together and (self.url.lower().startswith("https:") or is_loopback(self.url))

    @property
    def reason(self) -> str:
        """Return why the pair has to be confirmed."""
        if self.url_place == "repository":
            return "a file of the repository names this address"
        if self.key_place == "repository":
            return "git tracks the .env that holds the key"
        return "over http anybody on the way can read the key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a person has confirmed. `environment` is that of the process, and nothing of a file.

    `ask` puts a question to a person at the terminal, and is None where nobody can be asked.
    """

    environment: Mapping[str, str]
    ask: Callable[[str], bool] | None = None

    def require(self, sending: Sending) -> None:
        """Do nothing where the key may be sent to the address.

        Asks where somebody can be asked, and keeps the answer in the person's configuration folder. Raises
        CredentialsError where the pair is not confirmed, UsageError for a wrong BATCHPIPE_TRUST.
        """
        if address_of(sending.url) is None:
            hint = "Write it like https://gateway.example/path"
            raise CredentialsError("the base URL is not the address of a server", where="base_url", hint=hint)
        if sending.is_safe or sending.pair in {*self._given(), *self._kept()}:
            return
        if self.ask is not None and self.ask(
            f"Send {sending.variable} to {address_of(sending.url)}? ({sending.reason}) [y/N] "
        ):
            self._keep(sending.pair)
            return
        pairs = ",".join(dict.fromkeys([*self._given(), sending.pair]))
        raise CredentialsError(
            f"{sending.variable} is not sent to {address_of(sending.url)}: {sending.reason}",
            where=VARIABLE,
            hint=f"If you trust that address: export {VARIABLE}={pairs}",
        )

    def _given(self) -> list[str]:
        """Return the pairs of BATCHPIPE_TRUST. Raises UsageError for one that is not written as a pair."""
        pairs = []
        for text in filter(None, (each.strip() for each in self.environment.get(VARIABLE, "").split(","))):
            found = _PAIR.fullmatch(text)
            address = address_of(found["address"]) if found else None
            if found is None or address is None:
                hint = f"Write it like {VARIABLE}=GATEWAY_KEY@https://gateway.example, more pairs after a comma."
                raise UsageError(f"{text!r} is not a key's variable and an address", where=VARIABLE, hint=hint)
            pairs.append(f"{found['variable']}@{address}")
        return pairs

    def _kept(self) -> list[str]:
        """Return the pairs that the person confirmed at a terminal before."""
        path = self._file()
        try:
            return path.read_text("utf-8").split() if path is not None else []
        except (OSError, ValueError):
            return []

    def _keep(self, pair: str) -> None:
        """Add `pair` to the file of confirmed pairs. Without that file the next call asks again."""
        path = self._file()
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(pair + "\n")
        except OSError:
            return

    def _file(self) -> Path | None:
        """Return the file of confirmed pairs; None where the environment names no home.

        Source: the XDG Base Directory Specification; a relative path there counts as not set.
        """
        configured = Path(self.environment.get("XDG_CONFIG_HOME", ""))
        home = self.environment.get("HOME") or self.environment.get("USERPROFILE") or ""
        if configured.is_absolute():
            return configured / "batchpipe" / "trusted_addresses"
        return Path(home) / ".config" / "batchpipe" / "trusted_addresses" if Path(home).is_absolute() else None


def address_of(url: str) -> str | None:
    """Return `scheme://host:port` of `url` in lower case, without a port that is the usual one; None for no URL."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or parts.username is not None or not _HOST.fullmatch(host):
        return None
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}")


def is_loopback(url: str) -> bool:
    """Return whether `url` names this machine itself."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_whole_address(text: str, environment: Mapping[str, str]) -> bool:
    """Return whether a setting's `text` begins with a `${NAME}` whose value is all of scheme, host and port.

    The environment then names the address, whatever path the setting adds.
    """
    found = re.match(r"\$\{(\w+)\}(?=/|$)", text)
    value = environment.get(found[1], "") if found else ""
    return bool(_WHOLE_ADDRESS.match(value)) and (address_of(value) is not None)


def variables_sent(text: str) -> list[str]:
    """Return the names of the `${NAME}` in the URL `text` whose values the server gets to see.

    A variable that is the whole address, host or port says where a request goes, and is nothing that is sent.
    """
    found = _ADDRESS.match(text)
    return [each[1] for each in _VARIABLE.finditer(text, found.end() if found else 0)]


def is_tracked(root: Path, name: str) -> bool:
    """Return whether git tracks the file `name` of the folder `root`; also true where there is a repository and git
    cannot say.
    """
    if not any((each / ".git").exists() for each in (root, *root.parents)):
        return False
    return _code_of_git(root, "ls-files", "--error-unmatch", "--", name) != 1


def is_ignored(root: Path, path: Path) -> bool:
    """Return whether git would leave the file `path` out of a commit of the repository that has the folder `root`."""
    return _code_of_git(root, "check-ignore", "--quiet", "--", str(path)) == 0


def _code_of_git(root: Path, *arguments: str) -> int | None:
    """Return the exit code of git in the folder `root`; None where git is not there or does not end."""
    git = shutil.which("git")
    if git is None:
        return None
    # In containers the files often belong to another user, and this question runs nothing of the repository.
    settings = ["-c", "safe.directory=*", "-c", "core.fsmonitor=false"]
    command = [git, *settings, "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        return None
