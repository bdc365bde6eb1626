"""Stop long statements at an interrupt. Python alone runs a signal's handler only when the statement has ended."""

from __future__ import annotations

import contextlib
import weakref

import duckdb

_open: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()


def stop_at_interrupt(connection: duckdb.DuckDBPyConnection) -> None:
    """Let an interrupt stop the statements of `connection`, which reads and commits nothing of ours."""
    _open.add(connection)


def interrupt_statements() -> None:
    """Stop the statements that run now, each with duckdb.InterruptException. Any thread may call this."""
    with contextlib.suppress(RuntimeError, duckdb.Error):  # one was just opened or closed: its statement is short
        for connection in list(_open):
            connection.interrupt()
