"""Parse the command line: what is typed becomes a `Task`, which runs outside of the parser.

Commands are imported when they run, so that `--help` loads nothing but the parser.
"""

from batchpipe.cli import begin, look, work
from batchpipe.cli.app import PROGRAM, app

__all__ = ["PROGRAM", "app", "begin", "look", "work"]
