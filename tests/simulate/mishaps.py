"""What goes wrong: faults of the provider's calls; time, clocks, lost and restored databases, deleted locks."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from batchpipe.store.migration import migrations

from .disk import unwatched
from .world import DAY_SECONDS

if TYPE_CHECKING:
    from .play import Play

DATABASE = "batchpipe.duckdb"
HOUR_SECONDS = 3_600.0
OLDER_META = """
INSERT INTO ledger.meta VALUES
    ('database', 'olderone', '2026-10-01'::TIMESTAMP), ('schema_version', $1, '2026-10-01'::TIMESTAMP)
"""

CREATE: tuple[dict[str, Any], ...] = (
    {"fault": "accepted_then_reset"},
    {"fault": "accepted_then_status:500"},
    {"fault": "accepted_then_status:529"},
    {"fault": "accepted_then_status:408"},
    {"fault": "accepted_then_empty"},
    {"fault": "accepted_then_html"},
    {"fault": "accepted_late", "seconds": 900},
    {"fault": "landed_later", "seconds": 60},
    {"fault": "landed_later", "seconds": 200, "answer": "reset"},
    {"fault": "reset"},
    {"fault": "status:500"},
    {"fault": "status_html:503"},
    {"fault": "status:429", "retry_after": 90},
    {"fault": "status:429"},
    {"fault": "output_late", "seconds": 120},
    {"fault": "fails_late", "error_code": "token_limit_exceeded", "protocol": "openai"},
    {"fault": "fails_late", "error_code": "RESOURCE_EXHAUSTED", "protocol": "gemini"},
    {"fault": "partial", "protocol": "gemini"},
    {"fault": "counts_lie"},
)
RETRIEVE: tuple[dict[str, Any], ...] = (
    {"fault": "status:404", "times": 2},
    {"fault": "status:500"},
    {"fault": "reset"},
    {"fault": "html"},
    {"fault": "empty"},
    {"fault": "status:429", "retry_after": 30},
    {"fault": "results_url_other_host", "times": 50},
)
LIST: tuple[dict[str, Any], ...] = (
    {"fault": "list_lag", "seconds": 120, "times": 1000},
    {"fault": "status:500"},
    {"fault": "reset"},
    {"fault": "html"},
    {"fault": "empty"},
)
RESULTS: tuple[dict[str, Any], ...] = (
    {"fault": "results_cut_line_end"},
    {"fault": "results_cut_mid_line"},
    {"fault": "results_cut_length"},
    {"fault": "results_cut_chunk"},
    {"fault": "doubled_line"},
    {"fault": "doubled_line", "times": 3},
    {"fault": "foreign_line"},
    {"fault": "foreign_line", "times": 3},
    {"fault": "missing_line"},
    {"fault": "blank_line"},
    {"fault": "bad_json_line"},
    {"fault": "status:404"},
    {"fault": "html"},
    {"fault": "empty"},
    {"fault": "reset", "times": 2},
)
MESSAGE: tuple[dict[str, Any], ...] = (
    {"fault": "status:429", "retry_after": 5},
    {"fault": "status:429"},
    {"fault": "status:529", "times": 2},
    {"fault": "status:500"},
    {"fault": "reset"},
    {"fault": "html"},
    {"fault": "empty"},
    {"fault": "accepted_then_reset"},
    {"fault": "accepted_then_status:500"},
    {"fault": "accepted_then_empty"},
    {"fault": "status:400"},
)
UPLOAD: tuple[dict[str, Any], ...] = (
    {"fault": "status:500"},
    {"fault": "reset"},
    {"fault": "accepted_then_reset"},
    {"fault": "html"},
    {"fault": "status:429"},
)
FILES: tuple[dict[str, Any], ...] = ({"fault": "status:500"}, {"fault": "reset"}, {"fault": "status:404"})
CALLS = ("create", "create", "retrieve", "list", "results", "results", "message", "upload", "files")
OF_CALL = {
    "create": CREATE,
    "retrieve": RETRIEVE,
    "list": LIST,
    "results": RESULTS,
    "message": MESSAGE,
    "upload": UPLOAD,
    "files": FILES,
}


@cache
def older_image(version: int) -> bytes:
    """Return the bytes of a database with an empty ledger of an older schema version."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "older.duckdb")
        with duckdb.connect(path, config={"threads": 1}) as connection:
            for text in migrations()[:version]:
                connection.execute(text)
            connection.execute(OLDER_META, [str(version)])
        return path.read_bytes()


def _time_passes(play: Play, chance: random.Random) -> None:
    play.world.now += chance.choice((300.0, 3_600.0, 9 * 3_600.0, 2 * DAY_SECONDS))


def clock_jumps(play: Play, chance: random.Random) -> None:
    """Let the machine's clock or the provider's be wrong from now on, by up to an hour."""
    play.world.counts["clock jumps"] += 1
    far = chance.choice((-3_600.0, -400.0, -60.0, 60.0, 400.0, 3_600.0))
    if chance.random() < 0.5:
        play.computer.ahead = far
    else:
        play.provider.ahead = far


def _stranger(play: Play, chance: random.Random) -> None:
    play.world.counts["strangers"] += 1
    play.provider.stranger(chance.randint(1, 6))


def _backup(play: Play, chance: random.Random) -> None:
    files = [play.root / name for name in (DATABASE, f"{DATABASE}.wal")]
    play.backups.append({path.name: path.read_bytes() for path in files if path.exists()})


def _restore(play: Play, chance: random.Random) -> None:
    """Put an older database back beside today's raw folder."""
    if not play.backups:
        return
    backup = chance.choice(play.backups)
    if DATABASE not in backup:
        return
    play.world.counts["backups restored"] += 1
    _forget_reviews(play)
    _remove(play.root)
    for name, content in backup.items():
        (play.root / name).write_bytes(content)


def _forget_reviews(play: Play) -> None:
    """What people said is in no raw file: after this the database may know it, or not. Nor is it at rest any more."""
    play.resting = False
    play.project.perhaps |= play.project.reviewed.keys()
    play.project.said.clear()


def _lose(play: Play, chance: random.Random) -> None:
    if (play.root / DATABASE).exists():
        play.world.counts["databases lost"] += 1
        _forget_reviews(play)
        _remove(play.root)


def delete_locks(play: Play, chance: random.Random) -> None:
    """Delete the lock files, as `git clean` does."""
    play.world.counts["locks deleted"] += 1
    for path in (play.root / ".batchpipe" / "locks").glob("*"):
        path.unlink()


def _rot(play: Play, chance: random.Random) -> None:
    """Flip a bit of a raw file, cut it short or remove it. What was received in it counts as received no more: no disk
    gives it back.
    """
    files = sorted((play.root / ".batchpipe" / "raw").glob("*-*.*"))
    files = [each for each in files if each.is_file() and each.stat().st_size]
    if not files:
        return
    play.world.counts["raw files damaged"] += 1
    path = chance.choice(files)
    content = bytearray(path.read_bytes())
    place, bit, how = chance.randrange(len(content)), chance.randrange(8), chance.choice(("flips", "cut", "gone"))
    content[place] ^= 1 << bit
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content if how == "flips" else content[:place])
    chunk_id = path.name.partition(".")[0]
    play.world.say(f"    {path.suffixes} of a chunk: {how}")
    play.received -= {each for each in play.received if each[0] == chunk_id}
    play.rotten.add(chunk_id)


def _remove(root: Path) -> None:
    for name in (DATABASE, f"{DATABASE}.wal"):
        (root / name).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishap:
    """A mishap, and how often it is drawn."""

    weight: int
    happen: Callable[[Play, random.Random], None]


def _outside(happen: Callable[[Play, random.Random], None]) -> Callable[[Play, random.Random], None]:
    def happened(play: Play, chance: random.Random) -> None:
        with unwatched():
            happen(play, chance)

    return happened


MISHAPS: Mapping[str, Mishap] = {
    "time passes": Mishap(weight=4, happen=_time_passes),
    "a clock jumps": Mishap(weight=2, happen=clock_jumps),
    "a stranger's batch": Mishap(weight=1, happen=_outside(_stranger)),
    "a backup is made": Mishap(weight=2, happen=_outside(_backup)),
    "a backup is restored": Mishap(weight=2, happen=_outside(_restore)),
    "the database is lost": Mishap(weight=1, happen=_outside(_lose)),
    "locks are deleted": Mishap(weight=1, happen=_outside(delete_locks)),
    "a raw file rots": Mishap(weight=1, happen=_outside(_rot)),
}


def drawn_faults(chance: random.Random) -> list[dict[str, Any]]:
    """Return the faults of one step: none in every second step, else one to four."""
    if chance.random() < 0.5:
        return []
    found = []
    for _ in range(chance.randint(1, 4)):
        call = chance.choice(CALLS)
        found.append({"call": call, "after": chance.choice((0, 0, 0, 1, 2)), **chance.choice(OF_CALL[call])})
    return found


def drawn_delay(chance: random.Random) -> dict[str, Any]:
    """Return how long a batch takes; now and then it expires, with a part of it finished."""
    if chance.random() < 0.05:
        return {"delay_seconds": 26 * HOUR_SECONDS, "finished_before_expiry": chance.choice((0.0, 0.5))}
    return {"delay_seconds": chance.choice((60.0, 600.0, 3_000.0, 4 * HOUR_SECONDS))}
