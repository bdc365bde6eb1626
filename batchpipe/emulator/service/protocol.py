"""What each protocol gives to the server: which requests are its own, their replies, and what it has in the log."""

from typing import Protocol

from batchpipe.emulator.service.jsontypes import JsonObject
from batchpipe.emulator.service.wire import Reply, Request


class ProtocolService(Protocol):
    """One protocol of the emulated service."""

    @property
    def name(self) -> str:
        """The name of the protocol, as the rules say it."""
        ...

    def takes(self, request: Request) -> bool:
        """Return whether a request is of this protocol, by its path and its headers."""
        ...

    def answer(self, request: Request, base_url: str) -> Reply:
        """Return the reply to a request, an error in the protocol's own words too. `base_url` is the server's."""
        ...

    def logged(self, *, with_requests: bool) -> dict[str, JsonObject]:
        """Return what the log says of each batch, by its id, the oldest first."""
        ...

    def stranger(self, count: int, workspace: str, age_seconds: float) -> str:
        """Make a batch of `count` requests of somebody else, and return its id."""
        ...
