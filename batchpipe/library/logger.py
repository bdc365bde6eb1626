"""Hand the events of runs to Python's logging, under the name `batchpipe`: a program decides what is shown of them."""

from __future__ import annotations

import logging

from batchpipe.commands.printing.text import safe
from batchpipe.common.logs import Event

LOGGER = logging.getLogger("batchpipe")
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def log_event(pipeline: str, event: Event) -> None:
    """Log the sentence of `event`; nothing for an event that has none."""
    if str(event):
        LOGGER.log(LEVELS[event.level], "%s", f"{pipeline}: {safe(event)}" if pipeline else safe(event))
