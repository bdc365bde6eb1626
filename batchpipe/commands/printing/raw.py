"""Print what a run would take in from the raw folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchpipe.commands.printing.text import count, safe
from batchpipe.engine.ledger.unknown_chunks import UnknownChunks


def unknown_object(found: UnknownChunks, vanished: Sequence[str] = ()) -> dict[str, Any]:
    """Return, for `--json`, the chunks that a run takes in, and those of other databases that it asks about.

    `vanished` are the pipelines without a file whose chunks it takes in, too.
    """
    asked = found.others if found.asks else ()
    return {
        "chunks": len(found.ours),
        "requests": found.requests,
        "asks_about": len(asked),
        "databases": sorted({each.saved.file for each in asked}),
        "damaged": list(found.damaged),
        "vanished": list(vanished),
    }


def unknown_lines(found: Mapping[str, Any], name: str, suggest: Callable[[str], str]) -> list[str]:
    """Return what a run takes in from the raw folder, and what it asks; nothing where all is known.

    `found` is what `unknown_object` returns.
    """
    lines = []
    if found["chunks"]:
        chunks = f"{count(found['chunks'], 'chunk')} with {count(found['requests'], 'request')}"
        lines.append(f"the raw folder has {chunks} that the database does not know: `run` takes them in first")
    if found["vanished"]:
        names = safe(", ".join(found["vanished"]))
        lines += [
            f"the raw folder has chunks of pipelines without a file that the database does not know: {names}",
            f"  `run` takes them in first, and stops where {name} is one of them under a new name",
        ]
    if found["asks_about"]:
        sent = f"{count(found['asks_about'], 'chunk')} that the database {safe(', '.join(found['databases']))} sent"
        lines += [
            f"the raw folder has {sent}: `run` asks what becomes of them",
            f"  to take their results in: {suggest(f'recover {name} --from-raw')}",
            f"  to begin with nothing: {suggest(f'recover {name} --leave')}",
        ]
    if found["damaged"]:
        chunks = count(len(found["damaged"]), "chunk")
        lines += [
            f"{chunks} of the raw folder cannot be read, and `run` stops: {safe(', '.join(found['damaged']))}",
            "  put their files back, or give them up, so that their rows may be paid for again: "
            + suggest(f"recover {name} --leave"),
        ]
    return lines
