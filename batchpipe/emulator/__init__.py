"""A strict, stateful stand-in for the batch and realtime services of several providers, on loopback.

It imports nothing of the rest of batchpipe and no SDK: shared code would let one mistake cancel another.
Input: HTTP requests; answers and faults from files. Output: HTTP replies as the service gives them.
It writes no table of the project: the emulator keeps one SQLite file and a folder of bodies and results.
"""

from batchpipe.emulator.emulator import Emulator
from batchpipe.emulator.service.errors import EmulatorError

__all__ = ["Emulator", "EmulatorError"]
