"""One run alone and one beside pages that are polled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

from benchmarks.measure import ROOT, Bench, ProgramError, Size

POLL_SECONDS, DESK_SECONDS = 3.0, 5.0
WAITING = "waiting for batchpipe.duckdb"  # what a run says once it has waited a second
HELD = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The CPU seconds of a run alone and of one beside pages; `waits` are its long waits for the database, in words.

    `answers` is how often the pages were asked, `slowest_seconds` how long the slowest answer took, `words` how many
    words were recorded at the desk.
    """

    alone: float
    beside: float
    waits: tuple[str, ...]
    answers: int
    slowest_seconds: float
    words: int

    @property
    def ratio(self) -> float:
        """Return the CPU of the run beside pages as a part of that of the run alone."""
        return self.beside / self.alone

    @property
    def line(self) -> str:
        """Return the pair as a line."""
        pages = f"{self.answers} pages, the slowest {self.slowest_seconds:.2f} s, {self.words} words"
        return f"alone {self.alone:.2f} s, beside {self.beside:.2f} s of CPU ({self.ratio:.3f}); {pages}"


@dataclass(slots=True, kw_only=True)
class Browser:
    """A client that asks for pages as htmx and the desk do, until it is told to end."""

    url: str
    answers: int = 0
    slowest_seconds: float = 0.0
    words: int = 0
    failures: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    _opener: OpenerDirector = field(default_factory=lambda: build_opener(HTTPCookieProcessor(CookieJar())))
    _seen: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        """Poll the pages until the end."""
        self._asked(self.url)
        desk_at = 0.0
        while not self.ended.is_set():
            for path in ("/", "/p/bench"):
                self._poll(path)
            if time.monotonic() >= desk_at:
                desk_at = time.monotonic() + DESK_SECONDS
                self._review()
            self.ended.wait(POLL_SECONDS)

    @property
    def _base(self) -> str:
        return self.url.partition("/?")[0]

    def _poll(self, path: str) -> None:
        """Ask for the body of a page, with the digest of the one that is shown, as htmx does."""
        seen = self._seen.get(path)
        text = self._asked(f"{self._base}{path}" + (f"?seen={seen}" if seen else ""), {"hx-request": "true"})
        if "seen=" in text:
            self._seen[path] = text.partition("seen=")[2][:16]

    def _review(self) -> None:
        """Take rows at the desk, and say one word."""
        found = self._posted("/p/bench/review/take", {"number": 60, "have": []})
        if found.get("rows"):
            row = found["rows"][0]
            hidden = {each["name"]: each["allowed"][0] for each in found["fields"] if each["name"] in row["hidden"]}
            word = {"id": row["key"], "key": row["key"], "token": row["token"], "changes": {**row["texts"], **hidden}}
            said = self._posted("/p/bench/review/words", {"words": [word]})
            self.words += sum(each["outcome"] in ("accepted", "corrected") for each in said.get("results", ()))

    def _posted(self, path: str, value: Any) -> dict[str, Any]:
        headers = {"origin": self._base, "x-batchpipe": "1", "content-type": "application/json"}
        text = self._asked(f"{self._base}{path}", headers, json.dumps(value).encode("utf-8"))
        return dict(json.loads(text)) if text else {}

    def _asked(self, url: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> str:
        began = time.monotonic()
        try:
            with self._opener.open(Request(url, body, headers or {}), timeout=120) as answer:
                text = str(answer.read().decode("utf-8"))
        except HTTPError as error:
            text = ""
            if error.code not in (HELD, 400):  # the run holds the database; nothing is there to review yet
                self.failures.append(f"{url.partition('?')[0]}: {error.code}")
        self.answers += 1
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        return text


def run_pair(machine: Bench, size: Size, *, pages_first: bool) -> Pair:
    """Run alone and beside pages, in the order that is asked for."""
    found: dict[bool, float] = {}
    waits: tuple[str, ...] = ()
    browser = Browser(url="")
    for with_pages in (True, False) if pages_first else (False, True):
        machine.project(size)
        pipeline = machine.folder / "pipelines" / "bench.toml"
        pipeline.write_text(pipeline.read_text("utf-8") + "\n[review]\nsample = 0.05\n", encoding="utf-8")
        if not with_pages:
            found[False] = machine.batchpipe("alone", size).cpu_seconds
            continue
        with _pages(machine) as polled:
            found[True] = machine.batchpipe("beside pages", size).cpu_seconds
        said = (machine.folder / "output.txt").read_text(encoding="utf-8", errors="replace")
        browser = polled
        waits = tuple(line.strip() for line in said.splitlines() if WAITING in line)
    if browser.failures:
        raise ProgramError(f"pages failed: {sorted(set(browser.failures))}")
    return Pair(
        alone=found[False],
        beside=found[True],
        waits=waits,
        answers=browser.answers,
        slowest_seconds=browser.slowest_seconds,
        words=browser.words,
    )


@contextmanager
def _pages(machine: Bench) -> Iterator[Browser]:
    """Serve the pages of the project, and let a client poll them."""
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", ""), "PYTHONPATH": str(ROOT)}
    environment |= {"BATCHPIPE_BASE_URL": machine.base_url, "ANTHROPIC_API_KEY": "sk-benchmark"}
    process = subprocess.Popen(
        [sys.executable, "-m", "batchpipe", "ui", "--port", "0", "--no-open", "--json"],
        cwd=machine.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        browser = Browser(url=str(json.loads(process.stdout.readline())["url"]))
        thread = threading.Thread(target=browser.look, daemon=True)
        thread.start()
        try:
            yield browser
        finally:
            browser.ended.set()
            thread.join(120)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        process.stdout.close()
