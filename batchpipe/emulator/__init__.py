"""A strict, stateful stand-in for the Message Batches service, on loopback.

It imports nothing of the rest of batchpipe and no SDK: shared code would let one mistake cancel another.
"""

from batchpipe.emulator.emulator import Emulator
from batchpipe.emulator.service.errors import EmulatorError

__all__ = ["Emulator", "EmulatorError"]
