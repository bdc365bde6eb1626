"""A project with everything that pages show, and a client that is let in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.gold import GOLD, LADDER, run_eval
from projects import Project
from starlette.testclient import TestClient

from batchpipe.commands.call.begin import make_call
from batchpipe.commands.call.options import Globals
from batchpipe.pages.app import make_app
from batchpipe.pages.guard import Door
from batchpipe.pages.site import Site

PORT = 8473
BASE = f"http://127.0.0.1:{PORT}"
WRITE = {"origin": BASE, "x-batchpipe": "1"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202e'\"`{{ 7*7 }}{% raw %}]]><!--"
TEXT_KEYS = "'id': 'VARCHAR'"


def environment(project: Project, person: str = "ada") -> dict[str, str]:
    return {"ANTHROPIC_API_KEY": "test-key", "ANTHROPIC_BASE_URL": project.emulator.base_url, "USER": person}


def site_of(project: Project, **door: Any) -> Site:
    call = make_call(
        Globals(),
        [],
        json=False,
        start=project.root,
        environment=environment(project),
        command="batchpipe ui",
        interrupted=lambda: False,
    )
    return Site(call=call, door=Door(secret="secret", token="token", **door))


@contextmanager
def client_of(project: Project, *, let_in: bool = True, **door: Any) -> Iterator[TestClient]:
    """Yield a client of the pages; `let_in` ones have opened the printed URL."""
    site = site_of(project, **door)
    with TestClient(make_app(site), base_url=BASE) as client:
        if let_in:
            assert client.get("/?token=token").status_code == 200
        yield client
    site.close()


def hostile_project(root: Path) -> Project:
    """Return a project with two prompt versions, an evaluation, failed rows, rows to review, and data that wants to be
    code.
    """
    root.mkdir(parents=True, exist_ok=True)
    project = Project(root)
    rows: list[dict[str, Any]] = [
        {"id": f"key {number}", "body": f"question <{number}>", "lang": "en", "amount": number} for number in range(20)
    ]
    rows.append({"id": HOSTILE.replace("\n", " "), "body": f"text {HOSTILE}", "lang": "en", "amount": 99})
    project.rows(rows)
    gold = [{"id": row["id"], "category": ("billing", "bug", "other")[row["amount"] % 3]} for row in rows]
    project.rows(gold, file="gold.csv")
    text = LADDER.replace("'id': 'BIGINT'", TEXT_KEYS) + GOLD.replace(
        '"gold.csv"', "\"SELECT id, category FROM read_csv('gold.csv')\""
    )
    text = text.replace("max_tokens = 300\n", 'max_tokens = 300\naccept = "score >= 0.95"\n')
    text += '\n[review]\nwhere = "score > 0.9"\n\n[budget]\nmax_usd = 50\n'
    project.pipeline(text)
    project.faults({"requests": [{"match": "question <7>", "outcome": "refused"}]})
    project.run()
    project.pipeline(text.replace("{{ body }}", "Please: {{ body }}"))
    project.run()
    assert run_eval(project, models="all", yes=True).code == 0
    return project
