"""Tests of the pages in a real browser: the desk, the live dashboard, hostile data, reports from disk, accessibility.

They need Playwright and Chromium. Where one is missing they are skipped, unless NEEDS_BROWSER is set, as in `.ci/run`.
Screenshots are kept in the folder SCREENSHOTS, where that is set.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commandline import COMMAND, CommandLine
from projects import BASIC, Project, numbered

from pages.shown import HOSTILE, environment, hostile_project

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDED = bool(os.environ.get("NEEDS_BROWSER"))
if not NEEDED:
    pytest.importorskip("playwright.sync_api", reason="needs Playwright")
if CHROMIUM is None and not NEEDED:
    pytest.skip("needs Chromium", allow_module_level=True)

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402 - after it is known to be there

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
REVIEWED = BASIC + '\n[review]\nwhere = "true"\n'
PAGES = (
    "/",
    "/batches",
    "/spend",
    "/chains",
    "/checks",
    "/p/demo",
    "/p/demo/rows",
    "/p/demo/rows?state=failed",
    "/p/demo/review",
    "/p/demo/quality",
    "/p/demo/versions",
    "/p/demo/plan?show=now",
    "/p/demo/pilot",
)
SECONDS = 30.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


class Server:
    """`batchpipe ui` in a process of its own."""

    def __init__(self, project: Project, port: int = 0, person: str = "maria") -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "ui", "--port", str(port), "--no-open", "--json"],
            cwd=project.root,
            env={**os.environ, **environment(project, person)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["url"]
        self.base = self.url.partition("/?")[0]
        self.port = int(self.base.rpartition(":")[2])

    def end(self, number: int = signal.SIGINT) -> float:
        """End the process, and return how many seconds that took."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return time.monotonic() - began


@contextmanager
def serving(project: Project, **options: Any) -> Iterator[Server]:
    server = Server(project, **options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)


@contextmanager
def page_of(browser: Browser, server: Server, **options: Any) -> Iterator[tuple[Page, list[str]]]:
    """Yield a page that is let in, and what went wrong in it."""
    context = browser.new_context(**options)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
    page.goto(server.url)
    yield page, wrong
    context.close()


def until(page: Page, holds: Callable[[], bool]) -> None:
    """Wait until something holds. The pages' policy forbids to evaluate text in them."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, page.inner_text("body")[:2000]
        page.wait_for_timeout(50)


def read(page: Page, url: str) -> None:
    """Open a page, and wait until everything is read."""
    page.goto(url)
    until(page, lambda: not any(f"being {word} …" in page.inner_text("main") for word in ("read", "chosen", "counted")))


def shot(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def axe(page: Page) -> list[str]:
    """Return what axe-core finds on a page."""
    import axe_playwright_python

    script = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
    page.evaluate(script)
    found = page.evaluate("() => axe.run()")
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = hostile_project(tmp_path_factory.mktemp("browser") / "demo")
    yield project
    project.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_hostile_data_runs_nothing_and_axe_finds_nothing(
    made: Project, browser: Browser, scheme: str, width: int
) -> None:
    looks = {"color_scheme": scheme, "viewport": {"width": width, "height": 850}}
    with serving(made) as server:
        with page_of(browser, server, **looks) as (page, wrong):
            for number, path in enumerate(PAGES):
                read(page, server.base + path)
                shot(page, f"{number:02}_{scheme}_{width}")
            read(page, server.base + "/p/demo/rows")
            page.get_by_text(HOSTILE[:20]).first.click()
            until(page, lambda: "What happened" in page.inner_text("main"))
            assert "alert(1)" in page.inner_text("main")
            shot(page, f"row_{scheme}_{width}")
            assert wrong == []
        with page_of(browser, server, bypass_csp=True, **looks) as (page, _):
            found = {}
            for path in PAGES:
                read(page, server.base + path)
                if said := axe(page):
                    found[path] = said
                if width == 400 and "review" in path:
                    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
            assert found == {}


def test_the_desk_by_keyboard_and_a_server_that_is_killed(tmp_path: Path, browser: Browser) -> None:
    project = Project(tmp_path)
    try:
        project.pipeline(REVIEWED)
        project.rows(numbered(90))
        project.run()
        with serving(project) as server, page_of(browser, server) as (page, wrong):
            read(page, f"{server.base}/p/demo/review")
            until(page, lambda: "of 90" in page.inner_text("main"))
            said = 0
            for _ in range(30):
                page.keyboard.press("a")
                said += 1
            page.keyboard.press("3")
            page.keyboard.press("a")
            page.keyboard.press("u")
            page.keyboard.press("1")
            page.keyboard.press("Enter")
            said += 1
            until(page, lambda: "all recorded" in page.inner_text("main"))
            assert project.sql("SELECT count(DISTINCT key) FROM ledger.reviews WHERE verdict <> 'withdrawn'") == [
                (said,)
            ]
            # The server dies with words unsent, and is started again at the same port: all are recorded, once.
            port = server.port
            server.end(signal.SIGKILL)
            for _ in range(20):
                page.keyboard.press("a")
                said += 1
            until(page, lambda: "words wait here" in page.inner_text("main"))
            with serving(project, port=port) as again:
                until(page, lambda: "all recorded" in page.inner_text("main"))
                page.keyboard.press("a")
                said += 1
                until(page, lambda: "all recorded" in page.inner_text("main"))
                page.close(run_before_unload=False)
                assert again.end() < 2.0
                assert again.process.returncode in (0, 130)
        standing = (
            "SELECT count(*), count(DISTINCT key) FROM ledger.reviews r WHERE verdict <> 'withdrawn' "
            "AND seq NOT IN (SELECT withdraws FROM ledger.reviews w WHERE w.key = r.key AND withdraws IS NOT NULL)"
        )
        assert project.sql(standing) == [(said, said)]
        assert project.sql("SELECT DISTINCT reviewed_by FROM ledger.reviews") == [("maria",)]
        assert [each for each in wrong if "ERR_CONNECTION" not in each] == []
    finally:
        project.close()


def test_the_dashboard_is_live(tmp_path: Path, browser: Browser) -> None:
    project = Project(tmp_path)
    try:
        project.pipeline()
        project.rows(numbered(5))
        project.run()
        with serving(project) as server, page_of(browser, server) as (page, wrong):
            read(page, f"{server.base}/")
            until(page, lambda: page.inner_text(".figure .value").strip() == "5")
            project.rows(numbered(9))
            project.run()
            until(page, lambda: page.inner_text(".figure .value").strip() == "9")
            assert wrong == []
    finally:
        project.close()


def test_reports_open_from_disk(
    made: Project, browser: Browser, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made.root)
    call = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    call.provide(made)
    written = {
        "report": call("report", "--html", "report.html", "--with-rows"),
        "show": call("show", "demo", HOSTILE, "--html", "show.html", "--with-rows"),
        "diff": call("diff", "demo", "--html", "diff.html", "--with-rows"),
        "eval": call("eval", "demo", "--models", "all", "--tune", "--target", "0.1", "--yes", "--html", "eval.html"),
    }
    context = browser.new_context(offline=True, java_script_enabled=False)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith("file:") else None)
    for name, typed in written.items():
        assert typed.code in (0, 1), typed.talk
        assert "written to" in typed.talk
        page.goto((made.root / f"{name}.html").as_uri())
        shot(page, f"report_{name}")
        assert "demo" in page.inner_text("body")
    assert "Cost against accuracy" in page.inner_text("body")
    assert wrong == []
    context.close()
