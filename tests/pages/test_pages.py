"""Tests of every page through its route: what it says, what it escapes, who may see it, and its JSON."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tarfile
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from commandline import CommandLine
from projects import Project
from starlette.testclient import TestClient
from vendored import NotThatPackageError, take

from batchpipe.html.render import asset
from batchpipe.pages.guard import HEADERS
from pages.shown import BASE, HOSTILE, PORT, WRITE, client_of, hostile_project

KEY = quote(HOSTILE, safe="")
PAGES = (
    "/",
    "/batches",
    "/spend",
    "/chains",
    "/checks",
    "/p/demo",
    "/p/demo/rows",
    "/p/demo/rows?state=failed",
    "/p/demo/rows?where=score%20%3E%200.2&rung=1",
    "/p/demo/quality",
    "/p/demo/quality?part=measured",
    "/p/demo/quality?part=present",
    "/p/demo/versions",
    "/p/demo/plan",
    "/p/demo/plan?show=now",
    "/p/demo/pilot",
    "/p/demo/runs",
    "/p/demo/row/key%200",
    f"/p/demo/row/{KEY}",
)
INSIDE = {"hx-request": "true"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = hostile_project(tmp_path_factory.mktemp("pages") / "demo")
    yield project
    project.close()


@pytest.fixture(scope="module")
def client(made: Project) -> Iterator[TestClient]:
    with client_of(made) as client:
        yield client


class Tags(HTMLParser):
    """The tags, the names of attributes and the scripts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.scripts: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        if tag == "script":
            self.scripts.add(dict(attrs).get("src") or "inline")


def whole(client: TestClient, path: str) -> str:
    """Return the body of a page once everything is read, but for the parts that it fetches itself."""
    for _ in range(200):
        answer = client.get(path, headers=INSIDE)
        assert answer.status_code == 200, answer.text
        if 'hx-trigger="every 1s"' not in answer.text:
            return answer.text
        time.sleep(0.1)
    raise AssertionError(f"{path} is not read in 20 seconds")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_escaped_and_keeps_to_itself(client: TestClient, path: str) -> None:
    shell = client.get(path)
    assert shell.status_code == 200
    for name, value in HEADERS.items():
        assert shell.headers[name.decode()] == value.decode()
    assert shell.headers["cache-control"] == "no-store"
    body = whole(client, path)
    assert "It cannot be shown" not in body
    assert "It is being read" not in re.sub(r"<section[^>]*hx-get.*?</section>", "", body, flags=re.DOTALL)
    for text in (shell.text, body):
        page = Tags()
        page.feed(text)
        assert not page.tags & {"style", "img", "iframe", "object", "base"}
        assert {value for value in page.scripts if not value.startswith("/static/")} == set()
        assert not {name for name in page.names if name == "style" or name.startswith("on")}
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_what_the_pages_say(client: TestClient, made: Project) -> None:
    home = whole(client, "/")
    ((answered, review),) = made.sql("SELECT count(*), count(*) FILTER (_review) FROM demo")
    assert f'<div class="value">{answered}</div>' in home
    assert f'<a href="/p/demo/review" class="pill">{review} →</a>' in home
    assert ">v2<" in whole(client, "/p/demo/versions")
    ladder = whole(client, "/p/demo")
    assert "claude-haiku-4-5" in ladder
    assert "score &gt;= 0.5" in ladder
    failed = whole(client, "/p/demo/rows?state=failed")
    assert "key 7" in failed
    assert "1 to 1 of 1 failed row" in failed
    story = whole(client, f"/p/demo/row/{KEY}")
    assert "&lt;script&gt;alert(1)" in story
    assert "rung 1 · claude-haiku-4-5" in story
    assert "Please: text" in whole(client, f"/p/demo/row/{KEY}")
    assert "21</div>" in whole(client, "/p/demo/plan?show=now")
    assert "There is no" not in whole(client, "/spend")
    runs = whole(client, "/p/demo/runs")
    link = re.search(r'href="(/p/demo/runs/[^"]+)"', runs)
    assert link is not None
    assert "requests sent" in whole(client, link[1])
    assert "not current" in whole(client, "/p/demo/rows")


def test_the_quality_page_leads_from_confusions_to_their_rows(client: TestClient, made: Project) -> None:
    sent = made.sql("SELECT count(*) FROM ledger.requests")
    page = whole(client, "/p/demo/quality")
    parts = [each.replace("&amp;", "&") for each in re.findall(r'<section[^>]*hx-get="([^"]+)"', page)]
    assert [each.partition("part=")[2] for each in parts] == ["measured", "present"]
    measured = whole(client, parts[0])
    assert "<html" not in measured
    for words in ("Models", "Confusions", "Confidence of claude-haiku-4-5", "Thresholds for the ladder"):
        assert f"<h2>{words}</h2>" in measured
    assert "Present answers by rung" in whole(client, parts[1])
    links = re.findall(r'<td class="number"><a href="(/p/demo/quality[^"]+)"[^>]*>(\d+)</a>', measured)
    assert sum(int(number) for _, number in links) == 21
    address, number = links[-1]
    chosen = re.search(r'hx-get="([^"]+part=measured[^"]+)"', whole(client, address.replace("&amp;", "&")))
    assert chosen is not None
    rows = whole(client, chosen[1].replace("&amp;", "&"))
    assert f"{number} gold row" in rows
    assert rows.partition("<h2>Models")[0].count('<a href="/p/demo/row/') == int(number)
    assert made.sql("SELECT count(*) FROM ledger.requests") == sent


def test_versions_and_models_are_chosen_in_a_form(client: TestClient) -> None:
    page = whole(client, "/p/demo/versions")
    names = re.findall(r'<select name="([^"]+)"', page)
    assert names == ["from", "to", "from_model", "to_model"]
    assert page.count("<option selected>") == 2
    swapped = whole(client, "/p/demo/versions?from=v2&to=v1&from_model=&to_model=")
    assert "Comparison" not in swapped
    assert "<option selected>v2</option>" in swapped.partition('name="to"')[0]
    other = whole(client, "/p/demo/versions?from=v2&to=v2&from_model=claude-haiku-4-5&to_model=claude-sonnet-4-6")
    assert "<option selected>claude-sonnet-4-6</option>" in other


def test_rows_are_chosen_and_paged(client: TestClient, made: Project) -> None:
    ((matching,),) = made.sql("SELECT count(*) FROM demo WHERE score < 0.6")
    listed = client.get("/p/demo/rows.json?where=score%20%3C%200.6&limit=3").json()
    assert (listed["matching"], len(listed["rows"])) == (matching, min(matching, 3))
    found = whole(client, "/p/demo/rows?where=nonsense%20%3D%201")
    assert "nonsense" in found
    assert 'class="bad"' in found
    for condition in (
        "(SELECT count(*) FROM read_text('/etc/passwd')) > 0",
        "read_text('/etc/passwd') IS NOT NULL",
        "1=1); DROP TABLE demo; --",
        "score > 0 LIMIT 1",
    ):
        body = whole(client, f"/p/demo/rows?where={quote(condition)}")
        assert "root:" not in body
        assert "<tbody>" not in body
    assert made.sql("SELECT count(*) > 0 FROM demo") == [(True,)]


def test_json_is_what_the_commands_print(
    client: TestClient, made: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made.root)
    call = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    call.provide(made)
    same = {
        "/.json": ["status"],
        "/p/demo.json": ["report", "demo"],
        "/p/demo/row/key%200.json": ["show", "demo", "key 0"],
        f"/p/demo/row/{KEY}.json": ["show", "demo", HOSTILE],
        "/p/demo/rows.json?limit=7": ["results", "demo", "--limit", "7"],
        "/p/demo/rows.json?review=1&limit=50": ["results", "demo", "--limit", "50", "--review"],
        "/p/demo/quality.json": ["eval", "demo", "--history"],
        "/p/demo/versions.json": ["diff", "demo"],
        "/p/demo/plan.json": ["plan", "demo"],
        "/p/demo/review.json": ["review", "demo", "--report"],
        "/checks.json": ["check"],
        "/chains.json": ["graph"],
    }
    for path, words in same.items():
        printed = call(*words, "--json")
        assert printed.out, (path, printed.talk)
        assert client.get(path).text == printed.out, path
    for path in ("/batches.json", "/spend.json", "/p/demo/pilot.json"):
        json.loads(client.get(path).text)


@pytest.mark.parametrize(
    "where",
    [
        "list_sum(range(1000000000)) > score",
        "length(repeat('x', 4000000000)) > 1",
        "printf('%999999999d', 1) = 'x'",
        '"RANGE"(1000000000)[1] > score',
    ],
)
def test_a_condition_that_cannot_be_stopped_is_refused(client: TestClient, where: str) -> None:
    answer = client.get(f"/p/demo/rows.json?where={quote(where)}")
    assert (answer.status_code, "cannot be stopped" in answer.text) == (404, True), answer.text
    assert "cannot be stopped" in whole(client, f"/p/demo/rows?where={quote(where)}")


def test_what_is_not_there_is_said(client: TestClient) -> None:
    assert client.get("/p/nothing/plan.json").status_code == 404
    assert "The pipelines are: demo" in whole(client, "/p/nothing")
    for _ in range(200):  # a page that is not read within a moment answers 200, and asks again by itself
        if client.get("/p/nothing").status_code == 404:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("a page of no pipeline does not answer 404")
    assert client.get("/p/demo/row/nobody.json").status_code == 404
    assert "The nearest are" in whole(client, "/p/demo/row/nobody")
    assert client.get("/p/demo/runs/no-such-run.json").status_code == 404
    assert client.get("/nowhere").status_code == 404
    assert client.get("/static/../page.html").status_code == 404
    assert client.get("/p/demo/runs/%27%3B--.json").status_code == 404


def test_an_unchanged_page_is_not_sent_again(client: TestClient) -> None:
    again = re.search(r'hx-get="([^"]+)"', whole(client, "/batches"))
    assert again is not None
    assert client.get(again[1].replace("&amp;", "&"), headers=INSIDE).status_code == 204


def test_who_is_let_in(made: Project) -> None:
    with client_of(made, let_in=False) as client:
        assert client.get("/").status_code == 401
        assert client.get("/static/style.css").status_code == 401
        assert client.get("/?token=wrong").status_code == 403
        client.cookies.set(f"batchpipe_{PORT}", "wrong")
        assert client.get("/").status_code == 401
        client.cookies.clear()
        opened = client.get("/p/demo?token=token&x=1", follow_redirects=False)
        assert (opened.status_code, opened.headers["location"]) == (303, "/p/demo?x=1")
        cookie = opened.headers["set-cookie"]
        assert cookie.startswith(f"batchpipe_{PORT}=")
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert client.get("/p/demo").status_code == 200
        # The cookie of one port is none of another.
        assert client.get(f"http://127.0.0.1:{PORT + 1}/").status_code == 401
        for host in ("evil.example", "evil.example:8473", "127.0.0.1.evil.example", ""):
            refused = client.get("/", headers={"host": host})
            assert refused.status_code == 421
            assert "batchpipe serve --public-url" in refused.text
        for host in ("localhost:1", "[::1]:9", "127.0.0.1"):
            assert client.get("/", headers={"host": host}).status_code == 200


WRITES = ("/p/demo/review/take", "/p/demo/review/words", "/p/demo/approve?rows=5", "/p/demo/cancel")


@pytest.mark.parametrize("path", WRITES)
def test_a_write_comes_from_a_page_of_ours(made: Project, client: TestClient, path: str) -> None:
    before = made.sql("SELECT count(*) FROM ledger.events")
    for headers in (
        {},
        {"origin": BASE},
        {"x-batchpipe": "1"},
        {"origin": "http://evil.example", "x-batchpipe": "1"},
        {"origin": f"http://127.0.0.1:{PORT + 1}", "x-batchpipe": "1"},
        {"origin": "null", "x-batchpipe": "1"},
    ):
        assert client.post(path, headers=headers, json={}).status_code == 403
    assert client.get(path).status_code in (404, 405)
    with client_of(made, read_only=True) as reader:
        assert reader.post(path, headers=WRITE, json={}).status_code == 403
        assert "read only" in reader.get("/").text
    assert made.sql("SELECT count(*) FROM ledger.events") == before


def _bytes(header: tuple[str, str]) -> tuple[bytes, bytes]:
    return header[0].encode(), header[1].encode("latin-1")


def test_behind_a_proxy_only_the_proxy_asks_and_says_for_whom(made: Project) -> None:
    door: dict[str, Any] = {
        "public_url": "https://pages.example.org",
        "person_header": "X-Forwarded-User",
        "proxy_secret": "the secret of the proxy",
    }
    good = {"host": "pages.example.org", "x-batchpipe-proxy": "the secret of the proxy", "x-forwarded-user": "bo"}
    with client_of(made, let_in=False, **door) as client:
        assert client.get("/", headers=good).status_code == 200
        assert ">bo</span>" in client.get("/", headers=good).text
        assert client.get("/", headers={**good, "x-batchpipe-proxy": "guessed"}).status_code == 401
        assert client.get("/", headers={**good, "x-forwarded-user": " "}).status_code == 401
        named = {**good, "x-forwarded-user": "Zoë".encode().decode("latin-1")}
        assert ">Zoë</span>" in client.get("/", headers=[*map(_bytes, named.items())]).text
        for name in ("x-forwarded-user", "x-batchpipe-proxy"):
            headers: list[tuple[str, str]] = [*good.items(), (name, "eve")]
            twice = client.get("/", headers=headers)
            assert (twice.status_code, "more than once" in twice.text) == (401, True)
        assert client.get("/", headers={**good, "host": "evil.example"}).status_code == 421
        assert client.get("/?token=token", headers={"host": "pages.example.org"}).status_code == 401
        body = {"number": 1, "have": []}
        origin = {"origin": "https://pages.example.org", "x-batchpipe": "1"}
        assert client.post("/p/demo/review/take", headers={**good, **origin}, json=body).status_code == 200
        refused = client.post("/p/demo/review/take", headers={**good, **WRITE}, json=body)
        assert refused.status_code == 403


def test_the_vendored_script_is_the_one_that_is_named() -> None:
    (found,) = json.loads(asset("vendor.json"))
    given = base64.b64encode(hashlib.sha384(asset(found["file"])).digest()).decode()
    assert (found["name"], found["version"], found["licence"]) == ("htmx.org", "4.0.1", "0BSD")
    assert found["sha384"] == given


def test_another_version_of_the_script_is_taken_out_of_its_tarball(tmp_path: Path) -> None:
    for name in ("htmx.min.js", "vendor.json"):
        (tmp_path / name).write_bytes(asset(name))
    package = {"name": "htmx.org", "version": "4.0.2", "license": "0BSD"}
    files = {"package/package.json": json.dumps(package).encode(), "package/dist/htmx.min.js": b"// newer"}
    tarball = tmp_path / "htmx.org-4.0.2.tgz"
    with tarfile.open(tarball, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    before, after = take(tarball, tmp_path)
    assert (before["version"], after["version"]) == ("4.0.1", "4.0.2")
    assert (tmp_path / "htmx.min.js").read_bytes() == b"// newer"
    assert json.loads((tmp_path / "vendor.json").read_text("utf-8")) == [after]
    assert after["sha384"] == base64.b64encode(hashlib.sha384(b"// newer").digest()).decode()
    other = tmp_path / "other.tgz"
    with tarfile.open(other, "w:gz"):
        pass
    with pytest.raises(NotThatPackageError, match="no file package"):
        take(other, tmp_path)


def test_a_project_without_anything(tmp_path: Path) -> None:
    project = Project(tmp_path)
    try:
        with client_of(project) as client:
            assert "batchpipe new NAME" in whole(client, "/")
            assert "Nothing was sent yet" in whole(client, "/batches")
            assert client.get("/.json").json() == []
            project.pipeline()
            project.rows([{"id": 1, "body": "b", "lang": "en", "amount": 1}])
        with client_of(project) as client:
            for page in ("", "/rows", "/quality", "/versions", "/plan?show=now", "/pilot", "/runs", "/row/1"):
                assert "It cannot be shown" not in whole(client, f"/p/demo{page}"), page
            quality = whole(client, "/p/demo/quality")
            assert "Add [eval] with gold" in quality
            assert "batchpipe eval demo" not in quality  # it would fail
            assert "There is one version" not in whole(client, "/p/demo/versions")
            broken = project.root / "pipelines" / "broken.toml"
            broken.write_text("nonsense = 1\n", encoding="utf-8")
        with client_of(project) as client:
            assert "broken.toml" in whole(client, "/")
            assert "nonsense" in whole(client, "/checks")
    finally:
        project.close()
