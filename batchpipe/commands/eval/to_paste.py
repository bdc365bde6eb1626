"""The rungs of a tuned ladder as they stand in the pipeline file."""

from __future__ import annotations

import json
from collections.abc import Mapping

from batchpipe.pipeline.model import Pipeline
from batchpipe.pipeline.sending import LOCAL


def rungs_toml(pipeline: Pipeline, accepts: Mapping[int, str | None], local: bool, target: float | None) -> str:
    """Return the rungs with their new `accept`, which `accepts` has by place; a rung without a place is left out.

    `local`: the first place is that of the local rung. `target` is what each of its versions has to keep.
    """
    parts = [_local(accepts, target)] if local else []
    for place, rung in enumerate(pipeline.models, start=1 + local):
        accept = accepts.get(place)
        lines = [f"model = {json.dumps(rung.model)}"] if not rung.panel else []
        lines += [f"samples = {rung.samples}"] if rung.samples > 1 else []
        lines += [f"panel = {json.dumps([each.model for each in rung.panel])}"] if rung.panel else []
        if accept is not None:
            lines.append(f"accept = {json.dumps(accept)}")
        if place in accepts:
            parts.append("\n".join(["[[models]]", *lines]))
        else:
            parts.append(f"# leave out: {lines[0]}")
    return "\n\n".join(parts)


def _local(accepts: Mapping[int, str | None], target: float | None) -> str:
    if 1 not in accepts:
        return f'# leave out: model = "{LOCAL}"'
    lines = ["[[models]]", f'model = "{LOCAL}"', f"accept = {json.dumps(accepts[1] or 'true')}"]
    return "\n".join([*lines, *([] if target is None else [f"target = {target!r}"])])
