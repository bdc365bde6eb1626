"""Operations of the store, counted like those of the disk and the network, from outside of the code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from batchpipe.store.database import Database

from .world import World

_world: list[World] = []


def of_world(world: World) -> None:
    """Count the operations of the store for `world` from now on."""
    _world[:] = [world]


def watch_store() -> None:
    """Count the operations of every database of this process; done once."""
    writing, reading, detach, migrate = Database.writing, Database.reading, Database._detach, Database._migrate
    committed = False

    @contextmanager
    def watched_writing(*given: Any, **options: Any) -> Iterator[Any]:
        nonlocal committed
        _reached("store write")
        with writing(*given, **options) as found:
            yield found
            _reached("store commit")
            committed = True
        _reached("store closed")

    @contextmanager
    def watched_reading(*given: Any, **options: Any) -> Iterator[Any]:
        _reached("store read")
        with reading(*given, **options) as found:
            yield found

    def watched_detach(*given: Any) -> None:
        nonlocal committed
        if committed:
            committed = False
            _reached("store committed")
        detach(*given)

    def watched_migrate(*given: Any) -> None:
        _reached("store migrate")
        migrate(*given)

    Database.writing = watched_writing  # type: ignore[method-assign]
    Database.reading = watched_reading  # type: ignore[method-assign]
    Database._detach = watched_detach  # type: ignore[method-assign, assignment]
    Database._migrate = watched_migrate  # type: ignore[method-assign, assignment]


def _reached(operation: str) -> None:
    if _world:
        _world[0].reached(operation)
