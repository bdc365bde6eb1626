"""Run `batchpipe new`: add a pipeline to this project."""

from __future__ import annotations

from batchpipe.commands.call.call import Call
from batchpipe.commands.printing.text import count
from batchpipe.scaffold import new as write_pipeline


def new(call: Call, name: str, source: str | None, labels: str | None) -> int:
    """Write the pipeline `name`. Its rows come from the file `source`; `labels` is a list with commas."""
    written = write_pipeline(
        name,
        root=call.root,
        source=call.path(source) if source is not None else None,
        labels=labels.split(",") if labels is not None else (),
    )
    paths = [str(path.relative_to(call.root)) for path in written]
    if call.json:
        call.out({"pipeline": name, "files": paths})
        return 0
    call.say(f"wrote {count(len(written), 'file')} to {call.root}")
    for path in paths:
        call.say(f"  {path}")
    call.out(f"To try it: batchpipe run {name} --emulator")
    return 0
