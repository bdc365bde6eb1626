"""Run `batchpipe emulator`: serve the Batch API on loopback until an interrupt."""

from __future__ import annotations

import tempfile
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from batchpipe.commands.call.call import Call
from batchpipe.common.errors import UsageError
from batchpipe.emulator import Emulator, EmulatorError


def emulator(call: Call, *, port: int, folder: str | None, delay: float) -> int:
    """Serve until an interrupt, and return 0.

    Raises UsageError for a file, a folder or a port that cannot be used.
    """
    kept: AbstractContextManager[str] = (
        nullcontext(str(call.path(folder))) if folder is not None else tempfile.TemporaryDirectory()
    )
    with kept as place:
        service = Emulator(
            Path(place),
            port=port,
            answers=call.settings.path("emulator_answers", call.root, call.environment),
            faults=call.settings.path("emulator_faults", call.root, call.environment),
            delay_seconds=delay,
        )
        try:
            service.start()
        except EmulatorError as error:
            hint = "See: batchpipe emulator --help"
            raise UsageError(f"the emulator cannot start: {error}", where="emulator", hint=hint) from error
        try:
            _serve(call, service)
        finally:
            service.stop()
    return 0


def _serve(call: Call, service: Emulator) -> None:
    if call.json:
        call.out({"base_url": service.base_url})
    else:
        call.out(service.base_url)
        call.say(f"To use it, with any key: BATCHPIPE_BASE_URL={service.base_url} batchpipe run NAME")
        call.say("To end it: Ctrl-C")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        call.say("")
