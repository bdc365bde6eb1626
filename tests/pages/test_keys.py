"""Rows whose keys hold what paths, SQL and HTML give a meaning to: each link leads to the story of its own row."""

from __future__ import annotations

import html
import re
from urllib.parse import unquote

from projects import BASIC, Project

from pages.shown import TEXT_KEYS, client_of

KEYS = (
    "a/b", "../demo", ".", "..", "a.json", "a", "100%", "a\nb", "\n", " a ", "?x=1#y", '"', "'; DROP TABLE x--",
    '["a"]', "é", "e\u0301", "😀", "\\", "a//b", "/", "<b>", "&amp;", "\u202eabc", "a;b", "a+b",
)  # fmt: skip


def test_every_key_has_a_page_of_its_own(project: Project) -> None:
    project.pipeline(BASIC.replace("'id': 'BIGINT'", TEXT_KEYS))
    project.rows([{"id": key, "body": f"question {n}", "lang": "en", "amount": n} for n, key in enumerate(KEYS)])
    project.faults({"requests": [{"match": "question 2", "outcome": "refused"}]})
    project.run()
    with client_of(project) as client:
        shown = client.get("/p/demo/rows", headers={"hx-request": "true"}).text
        shown += client.get("/p/demo/rows?state=failed", headers={"hx-request": "true"}).text
        links = {html.unescape(each) for each in re.findall(r'href="(/p/demo/row/[^"]*)"', shown)}
        assert len(links) == len(KEYS)
        told = []
        for link in links:
            page = client.get(link, headers={"hx-request": "true"})
            assert page.status_code == 200, unquote(link)
            found = client.get(f"{link}.json").json()
            assert "key" in found, (link, found)
            told.append(found["key"])
    assert sorted(told) == sorted([key] for key in KEYS)
