"""`profiled.py statements|functions FILE ARGUMENT...`: batchpipe with these arguments, and where its CPU went.

`statements` times what is called of DuckDB's connections, by the name of the query; CPU is that of the process, so
DuckDB's own threads count, and so does what other threads do meanwhile. `functions` is cProfile by the CPU of each
thread, without DuckDB's own. FILE gets the parts as JSON.
"""

from __future__ import annotations

import cProfile
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType
from typing import Any
from unittest.mock import patch

from batchpipe.sql.quoting import Sql

ROOT = Path(__file__).resolve().parents[2]
NAME_CHARACTERS = 60
RUNS_A_STATEMENT = ("execute", "executemany", "query", "sql")
LITERAL = re.compile(r"'(?:[^']|'')*'")
COMMENT = re.compile(r"^\s*--.*$|(?<=\s)-- .*$", re.MULTILINE)

Parts = dict[str, tuple[float, int]]


class Named:
    """The CPU by statement. A statement that is no named query of the store is named by its beginning."""

    def __init__(self) -> None:
        self.parts: Parts = {}
        self.texts: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, name: str, seconds: float, calls: int) -> None:
        with self._lock:
            before = self.parts.get(name, (0.0, 0))
            self.parts[name] = (before[0] + seconds, before[1] + calls)

    def name(self, statement: str) -> str:
        if statement not in self._names:
            holds = [text for text in self.texts if text in statement]
            words = " ".join(LITERAL.sub("'...'", COMMENT.sub("", statement)).split())
            cut = words if len(words) <= NAME_CHARACTERS else words[: NAME_CHARACTERS - 3] + "..."
            self._names[statement] = self.texts[max(holds, key=len)] if holds else cut
        return self._names[statement]


class Connection:
    """A connection of DuckDB whose calls are timed; the time of a fetch counts for its statement."""

    def __init__(self, connection: Any, named: Named) -> None:
        self._connection, self._named, self._statement = connection, named, "nothing yet"

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._connection, attribute)
        if not callable(value):
            return value

        def timed(*arguments: Any, **options: Any) -> Any:
            runs = attribute in RUNS_A_STATEMENT
            if runs:
                self._statement = self._named.name(str(arguments[0]))
            began = time.process_time()
            try:
                result = value(*arguments, **options)
            finally:
                self._named.add(self._statement, time.process_time() - began, int(runs))
            if result is self._connection:
                return self
            return Connection(result, self._named) if isinstance(result, type(self._connection)) else result

        return timed

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def statements(arguments: Sequence[str]) -> tuple[int, Parts]:
    import duckdb

    from batchpipe.store import queries

    named, connect, query = Named(), duckdb.connect, queries.query

    def connected(*given: Any, **options: Any) -> Connection:
        return Connection(connect(*given, **options), named)

    def noted(name: str, **parts: Sql) -> Sql:
        text = query(name, **parts)
        named.texts[text] = name
        return text

    with patch.object(duckdb, "connect", connected), patch.object(queries, "query", noted):
        code = _called(arguments)
    return code, named.parts


def functions(arguments: Sequence[str]) -> tuple[int, Parts]:
    """Profile all threads: from Python 3.12 on one profiler sees every thread, before that each thread needs
    its own.
    """
    each_its_own = sys.version_info < (3, 12)
    timer: Callable[[], float] = time.thread_time if each_its_own else time.process_time
    profiles = [cProfile.Profile(timer)]
    run = threading.Thread.run

    def profiled(thread: threading.Thread) -> None:
        if not each_its_own:
            return run(thread)
        profile = cProfile.Profile(timer)
        profiles.append(profile)
        return profile.runcall(run, thread)

    with patch.object(threading.Thread, "run", profiled):
        code = profiles[0].runcall(_called, arguments)
    parts: Parts = {}
    for entry in (entry for profile in profiles for entry in profile.getstats()):
        name = function_name(entry.code)
        before = parts.get(name, (0.0, 0))
        parts[name] = (before[0] + entry.inlinetime, before[1] + entry.callcount)
    return code, parts


def function_name(code: CodeType | str) -> str:
    """Return the name of a function: a builtin by its own name, any other with its file, without the machine's
    folders.
    """
    if isinstance(code, str):
        return code.strip("<>")
    path = code.co_filename
    for start in (f"{ROOT}/", "site-packages/", f"python{sys.version_info[0]}.{sys.version_info[1]}/"):
        if start in path:
            path = path.rpartition(start)[2]
            break
    return f"{path} {code.co_qualname}"


def _called(arguments: Sequence[str]) -> int:
    from batchpipe.cli.main import main

    return main(arguments)


def main(what: str, path: str, arguments: Sequence[str]) -> int:
    code, parts = (statements if what == "statements" else functions)(arguments)
    found = [
        {"name": name, "cpu_seconds": round(seconds, 4), "calls": calls} for name, (seconds, calls) in parts.items()
    ]
    Path(path).write_text(json.dumps(found), encoding="utf-8")
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
