"""The replies to HTTP requests: the emulator's own endpoints, or the protocol that a request belongs to."""

from collections.abc import Sequence
from email.utils import formatdate

from batchpipe.emulator.control import Control
from batchpipe.emulator.service.protocol import ProtocolService
from batchpipe.emulator.service.rulebook import Rulebook
from batchpipe.emulator.service.store import Store
from batchpipe.emulator.service.wire import Reply, Request


class Routes:
    """The calls of one emulator; `base_url` is its own address.

    A request goes to the first protocol that takes it, else to the last one, which says that there is no such path.
    """

    def __init__(
        self, store: Store, rulebook: Rulebook, control: Control, protocols: Sequence[ProtocolService]
    ) -> None:
        self._store = store
        self._rulebook = rulebook
        self._control = control
        self._protocols = protocols
        self.base_url = ""

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request, after writing the call to the log."""
        if request.path.startswith("/emulator/"):
            return self._control.answer(request)
        protocol = next((each for each in self._protocols if each.takes(request)), self._protocols[-1])
        reply = protocol.answer(request, self.base_url)
        rules = self._rulebook.rules()
        if rules.date_header:
            reply.headers["date"] = formatdate(self._store.now() + rules.clock_offset_seconds, usegmt=True)
        path = request.path
        if request.query:
            path += "?" + "&".join(f"{name}={value}" for name, value in request.query.items())
        self._store.record_call(request.method, path, reply.status, reply.fault)
        return reply
