"""Give what the program takes from the machine that it runs on: time, sleep, chance, and the transport of its calls."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from batchpipe.common.call_pool import Pool, side_by_side

if TYPE_CHECKING:
    import httpx2


def utc_now() -> datetime:
    """Return the wall clock as naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def git_commit(folder: Path) -> str | None:
    """Return the commit that is checked out in `folder`, with `+` where files differ from it; None outside of git."""
    run = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(run, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine that a command runs on. A test gives one whose time, chance and network it decides itself.

    `clock` returns naive UTC, `monotonic` returns seconds that never go back. `chance` draws ids. `pool` makes calls
    side by side. `transport` carries the provider's HTTP requests; None is the network. `git_commit` names the
    commit of a folder.
    """

    clock: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: random.Random = field(default_factory=random.SystemRandom)
    pool: Pool = side_by_side
    transport: httpx2.BaseTransport | None = None
    git_commit: Callable[[Path], str | None] = git_commit


THIS_MACHINE = Machine()


def new_id(now: datetime, chance: random.Random) -> str:
    """Return a new UUID of version 7, which begins with the time: ids of later moments are greater.

    Source of the layout: RFC 9562, section 5.7.
    """
    milliseconds = int(now.replace(tzinfo=UTC).timestamp() * 1000) & (1 << 48) - 1
    number = milliseconds << 80 | 0x7 << 76 | chance.getrandbits(12) << 64 | 0b10 << 62 | chance.getrandbits(62)
    return str(UUID(int=number))
