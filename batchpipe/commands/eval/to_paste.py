"""The rungs of a tuned ladder as they stand in the pipeline file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import tomli_w

from batchpipe.pipeline.model import Pipeline
from batchpipe.pipeline.sending import LocalRung, Rung

HEADER = re.compile(r"^(\[\[?)", re.MULTILINE)


def rungs_toml(pipeline: Pipeline, accepts: Mapping[int, str | None], local: bool, target: float | None) -> str:
    """Return the rungs with all their keys and their new `accept`, which `accepts` has by place; a rung without a place
    is left out.

    `local`: the first place is that of the local rung. `target` is what each of its versions has to keep.
    """
    rungs = list[Rung | LocalRung](pipeline.models)
    changed: dict[int, dict[str, Any]] = {place: {"accept": accept} for place, accept in accepts.items()}
    if local and pipeline.local is not None:
        rungs.insert(0, pipeline.local)
        if 1 in accepts:
            changed[1] = {"accept": accepts[1] or "true", "target": target}
    return "\n\n".join(
        _rung(rung, changed[place]) if place in changed else f"# leave out: {_name(rung)}"
        for place, rung in enumerate(rungs, start=1)
    )


def _rung(rung: Rung | LocalRung, changed: Mapping[str, Any]) -> str:
    """Return `[[models]]` with the keys that the file has, and the changed ones."""
    keys = rung.model_dump(exclude_unset=True, exclude_none=True) | dict(changed)
    if "panel" in keys:
        keys["panel"] = [each["model"] if len(each) == 1 else each for each in keys["panel"]]
    texts = [_key(key, value) for key, value in keys.items() if value is not None]
    # A table ends where the next one begins: tables of settings come after the other keys.
    return "\n".join(["[[models]]", *sorted(texts, key=lambda text: text.startswith("["))])


def _key(key: str, value: Any) -> str:
    """Return one key of the rung, or the table that it is."""
    value = list(value) if isinstance(value, tuple) else value
    return HEADER.sub(r"\1models.", tomli_w.dumps({key: value}).rstrip())


def _name(rung: Rung | LocalRung) -> str:
    if isinstance(rung, Rung) and rung.panel:
        return f"panel = {json.dumps([each.model for each in rung.panel])}"
    return f"model = {json.dumps(rung.model)}"
