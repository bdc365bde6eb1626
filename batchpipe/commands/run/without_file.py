"""Name the open batches of pipelines without a readable file, and save their results where these are ready."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from pathlib import Path

from batchpipe.commands.call.call import Call
from batchpipe.commands.printing.text import count, safe
from batchpipe.common.errors import DatabaseError
from batchpipe.engine.run.first_look import LeftOpen, save_without_files

_NAME = re.compile(r"""^\s*name\s*=\s*["']([a-z][a-z0-9_]*)["']""", re.MULTILINE)


def save_and_tell(call: Call, wanted: Collection[str] | None, known: Collection[str] = ()) -> None:
    """Save the ended results of pipelines without a file that can be read, and say what is open of them.

    `wanted` are the names that may be meant, None for all of the ledger; those of `known` have a file.
    A database that cannot be read now is passed over.
    """
    with suppress(DatabaseError), call.context() as context, closing(context.work()) as work:
        for each in save_without_files(context, work, wanted, known):
            call.warn(_text(each, call))


def possible_names(arguments: Sequence[str | Path], root: Path) -> list[str]:
    """Return the names that pipelines named so may have: the stem, and what a file gives as `name`, as it stands."""
    found: list[str] = []
    for each in arguments:
        found.append(Path(each).stem)
        for place in (root / each, root / "pipelines" / f"{Path(each).stem}.toml"):
            with suppress(OSError, ValueError):
                found += _NAME.findall(place.read_text(encoding="utf-8-sig"))
    return list(dict.fromkeys(found))


def _text(left: LeftOpen, call: Call) -> str:
    """Return what is open of a pipeline, and the step that takes it in."""
    name = safe(left.pipeline)
    saved = f"the results of {left.saved:,} are saved in the raw folder" if left.saved else "no results are there yet"
    batches = count(left.batches, "batch", "batches")
    return (
        f"{name} cannot run now and has {batches} open: {saved}. To record them, correct its file or bring it back (or "
        f'give another file renamed_from = "{name}"), then: {call.suggest(f"run {name}")}'
    )
