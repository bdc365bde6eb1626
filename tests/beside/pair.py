"""One run alone and one beside pages that are polled and a desk at which somebody reviews."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, Request, build_opener

from benchmarks.measure import ROOT, Bench, ProgramError, Size

POLL_SECONDS, DESK_SECONDS, RETRY_SECONDS = 3.0, 5.0, 0.5
WAITING = "waiting for batchpipe.duckdb"  # what a run says once it has waited a second
HELD = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The CPU seconds of a run alone and of one beside pages; `waits` are its long waits for the database, in words.

    `answers` is how often the pages were asked, `slowest_seconds` how long the slowest answer took, `words` how many
    words were recorded at the desk, of `said` that were said. `more` is what the run beside the pages did more often
    than the one alone.
    """

    alone: float
    beside: float
    waits: tuple[str, ...]
    answers: int
    slowest_seconds: float
    words: int
    said: int
    more: Mapping[str, int]

    @property
    def ratio(self) -> float:
        """Return the CPU of the run beside pages as a part of that of the run alone."""
        return self.beside / self.alone

    @property
    def line(self) -> str:
        """Return the pair as a line."""
        pages = f"{self.answers} pages, the slowest {self.slowest_seconds:.2f} s, {self.words} of {self.said} words"
        more = ", ".join(f"{number:+} {name}" for name, number in self.more.items()) or "the same steps and statements"
        return f"alone {self.alone:.2f} s, beside {self.beside:.2f} s of CPU ({self.ratio:.3f}); {pages}; {more}"


@dataclass(slots=True, kw_only=True)
class Browser:
    """A client that asks for pages as htmx does, and reviews as the desk does, until it is told to end.

    A word that the server could not record yet is sent again, as the desk does: `unsent` holds it.
    """

    url: str
    answers: int = 0
    slowest_seconds: float = 0.0
    words: int = 0
    said: int = 0
    failures: list[str] = field(default_factory=list)
    unsent: dict[str, Any] | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    _cookies: CookieJar = field(default_factory=CookieJar)
    _seen: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Poll the pages and review beside them, until the end of the block; then send what is unsent."""
        self._asked(self.url)
        threads = [threading.Thread(target=each, daemon=True) for each in (self._look, self._review_on)]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            self.ended.set()
            for each in threads:
                each.join(120)
            if self.unsent is not None:
                self._send()

    @property
    def _base(self) -> str:
        return self.url.partition("/?")[0]

    def _look(self) -> None:
        while not self.ended.wait(POLL_SECONDS):
            for path in ("/", "/p/bench"):
                self._poll(path)

    def _review_on(self) -> None:
        while not self.ended.wait(DESK_SECONDS if self.unsent is None else RETRY_SECONDS):
            if self.unsent is None:
                self._say()
            if self.unsent is not None:
                self._send()

    def _poll(self, path: str) -> None:
        """Ask for the body of a page, with the digest of the one that is shown, as htmx does."""
        seen = self._seen.get(path)
        text = self._asked(f"{self._base}{path}" + (f"?seen={seen}" if seen else ""), {"hx-request": "true"})
        if "seen=" in text:
            self._seen[path] = text.partition("seen=")[2][:16]

    def _say(self) -> None:
        """Take rows at the desk, and decide one."""
        found = self._posted("/p/bench/review/take", {"number": 60, "have": []})
        if found.get("rows"):
            row = found["rows"][0]
            hidden = {each["name"]: each["allowed"][0] for each in found["fields"] if each["name"] in row["hidden"]}
            changes = {**row["texts"], **hidden}
            self.unsent = {"id": row["key"], "key": row["key"], "token": row["token"], "changes": changes}
            self.said += 1

    def _send(self) -> None:
        """Send the word that is unsent; while the database is held, it stays so."""
        said = self._posted("/p/bench/review/words", {"words": [self.unsent]})
        if said.get("results"):
            self.unsent = None
            self.words += sum(each["outcome"] in ("accepted", "corrected") for each in said["results"])

    def _posted(self, path: str, value: Any) -> dict[str, Any]:
        headers = {"origin": self._base, "x-batchpipe": "1", "content-type": "application/json"}
        text = self._asked(f"{self._base}{path}", headers, json.dumps(value).encode("utf-8"))
        return dict(json.loads(text)) if text else {}

    def _asked(self, url: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> str:
        began = time.monotonic()
        try:
            opener = build_opener(HTTPCookieProcessor(self._cookies))
            with opener.open(Request(url, body, headers or {}), timeout=120) as answer:
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
    steps: dict[bool, dict[str, int]] = {}
    waits: tuple[str, ...] = ()
    browser = Browser(url="")
    for with_pages in (True, False) if pages_first else (False, True):
        machine.project(size)
        pipeline = machine.folder / "pipelines" / "bench.toml"
        pipeline.write_text(pipeline.read_text("utf-8") + "\n[review]\nsample = 0.05\n", encoding="utf-8")
        if not with_pages:
            found[False] = machine.batchpipe("alone", size).cpu_seconds
            steps[False] = _steps(machine)
            continue
        with _pages(machine) as polled:
            found[True] = machine.batchpipe("beside pages", size).cpu_seconds
            steps[True] = _steps(machine)
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
        said=browser.said,
        more={
            name: steps[True][name] - steps[False][name]
            for name in sorted(steps[True])
            if steps[True][name] != steps[False][name]
        },
    )


def _steps(machine: Bench) -> dict[str, int]:
    """Return how often the run did what its log has: noise of the machine does not touch that it planned once."""
    said = (machine.folder / "output.txt").read_text(encoding="utf-8", errors="replace")
    return {
        "new plans": said.count("planning anew"),
        "long waits": said.count(WAITING),
        "batches": said.count("collected "),
    }


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
        with browser.looking():
            yield browser
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        process.stdout.close()
