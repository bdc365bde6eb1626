"""Run `batchpipe schema`: print the JSON Schema of the pipeline file, for editors."""

from __future__ import annotations

import json

from batchpipe.commands.call.call import Talk
from batchpipe.pipeline.reference import json_schema


def schema(talk: Talk) -> int:
    """Print the JSON Schema of the pipeline file."""
    value = json_schema()
    talk.out(value if talk.json else json.dumps(value, indent=2))
    return 0
