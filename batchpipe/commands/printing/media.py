"""Print what is known of the files that requests send: their number, sizes and tokens, and what a provider takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from batchpipe.commands.printing.text import count, safe
from batchpipe.engine.media.figures import MediaFigures, MediaPlan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.providers import MediaLimits


def media_object(found: MediaPlan) -> dict[str, Any]:
    """Return the figures of files for `--json`: `files` for each rung, and the rows that are `unfit` for all."""
    shown = [{"key": json.loads(each.key), "why": each.why} for each in found.rows]
    return {"files": [asdict(each) for each in found.figures], "unfit": {"rows": found.unfit, "first": shown}}


def media_lines(resolved: Resolved, found: MediaPlan) -> list[str]:
    """Return what is said of the files of a pipeline: figures for each rung, limits, rows that are not sent."""
    lines = [f"  files: {files_text(each)}" for each in found.figures]
    return [*lines, *(f"  limits: {each}" for each in all_limits(resolved)), *unfit_lines(found)]


def all_limits(resolved: Resolved) -> list[str]:
    """Return the limits on files of each provider of the ladder."""
    kinds = sorted({each.kind for each in resolved.templates.media})
    known = {each.name: each for each in (resolved.provider_of(rung) for rung in resolved.rungs)}
    return [f"{safe(name)} takes {limits_text(each.rules.media, kinds)}" for name, each in known.items()]


def unfit_lines(found: MediaPlan) -> list[str]:
    """Return which rows fail for their files before anything is sent."""
    if not found.unfit:
        return []
    lines = [f"  {count(found.unfit, 'row')} will not be sent because of files:"]
    lines += [f"    {safe(', '.join(map(str, json.loads(each.key))))}: {safe(each.why)}" for each in found.rows]
    more = found.unfit - len(found.rows)
    return [*lines, f"    and {count(more)} more"] if more else lines


def files_text(found: MediaFigures) -> str:
    """Return the figures of the files that are sent to one rung."""
    words = count(found.files, "file")
    if found.blocks != found.files + found.addresses:
        words += f" in {count(found.blocks, 'place')}"
    if found.files:
        words += f", {size_text(found.bytes)}"
    if found.addresses:
        words += f", {count(found.addresses, 'address', 'addresses')}"
    if found.pages:
        words += f", {count(found.pages, 'page')} of PDF"
    each = f"{count(found.least)} to {count(found.most)}" if found.least != found.most else count(found.most)
    words += f": about {count(found.tokens)} tokens for {safe(found.model)}, {each} for one"
    return words + (f"; {count(found.shared)} uploaded once" if found.shared else "")


def limits_text(limits: MediaLimits, kinds: Sequence[str]) -> str:
    """Return what a provider takes of these kinds of files."""
    words = []
    if "image" in kinds or "file" in kinds:
        words.append(f"{_names(limits.images)} up to {size_text(limits.image_bytes)}")
    if "pdf" in kinds or "file" in kinds:
        types = ["application/pdf"] if "file" not in kinds else limits.files
        words.append(f"{_names(types)} up to {size_text(limits.file_bytes)}")
    return f"{' and '.join(words)}, at most {limits.blocks:,} in a request"


def size_text(size: int) -> str:
    """Return a number of bytes for people."""
    for unit, name in ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}".replace(".0 ", " ")
    return count(size, "byte")


def _names(types: Sequence[str]) -> str:
    """Return media types as people call them: `image/png` is PNG, `text/` is text."""
    names = [each.strip("/").rpartition("/")[2] for each in types]
    return ", ".join("text" if each in ("plain", "text") else each.upper() for each in names)
