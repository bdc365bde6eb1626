"""Run `batchpipe init`: write a project to start from."""

from __future__ import annotations

from pathlib import Path

from batchpipe.commands.call.call import Talk
from batchpipe.commands.printing.text import count
from batchpipe.common.given import home_path
from batchpipe.project.settings import refuse_signs
from batchpipe.scaffold import init as write_project
from batchpipe.scaffold import next_steps


def init(talk: Talk, directory: str) -> int:
    """Write the project into `directory`.

    Raises UsageError where one of its files exists already, and for a folder that cannot be a project.
    """
    target = home_path(directory, "the command line").absolute()
    refuse_signs(target)
    written = write_project(target)
    if talk.json:
        talk.out({"root": str(target), "files": [str(path.relative_to(target)) for path in written]})
        return 0
    talk.say(f"wrote {count(len(written), 'file')} to {target}")
    for path in written:
        talk.say(f"  {path.relative_to(target)}")
    talk.out(next_steps(Path(directory)).rstrip("\n"))
    return 0
