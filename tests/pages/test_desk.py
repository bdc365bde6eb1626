"""Tests of the review desk over HTTP: words of several people, none lost, none doubled, and withdrawals."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.reviewed import correct
from projects import BASIC, Project, numbered
from starlette.testclient import TestClient

from batchpipe.pages.desk.leases import LEASE_SECONDS, Leases
from pages.shown import client_of

REVIEWED = BASIC + '\n[review]\nwhere = "true"\nshow = ["amount"]\n'
PROXY = {"public_url": "https://desk.example.org", "person_header": "X-User", "proxy_secret": "a secret of the proxy"}
TAKE, WORDS = "/p/demo/review/take", "/p/demo/review/words"


def headers(person: str) -> dict[str, str]:
    return {
        "host": "desk.example.org",
        "origin": "https://desk.example.org",
        "x-batchpipe": "1",
        "x-batchpipe-proxy": "a secret of the proxy",
        "x-user": person,
    }


@pytest.fixture
def reviewed(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    project.pipeline(REVIEWED)
    project.rows(numbered(30))
    project.run()
    yield project
    project.close()


def post(client: TestClient, path: str, person: str, body: Any, status: int = 200) -> Any:
    answer = client.post(path, headers=headers(person), json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def take(client: TestClient, person: str, number: int, have: list[str] | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = post(client, TAKE, person, {"number": number, "have": have or []})["rows"]
    return found


def word(row: Mapping[str, Any], name: str, changes: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return {"id": name, "key": row["key"], "token": row["token"], "changes": changes or {}, **more}


def outcomes(client: TestClient, person: str, *words: Mapping[str, Any]) -> list[str]:
    found = post(client, WORDS, person, {"words": list(words)})["results"]
    return [each["outcome"] for each in found]


def other(row: Mapping[str, Any]) -> dict[str, str]:
    return {"label": next(each for each in ("billing", "bug", "other") if each != row["texts"]["label"])}


def test_words_of_two_people(reviewed: Project) -> None:
    with client_of(reviewed, let_in=False, **PROXY) as client:
        found = post(client, TAKE, "ada", {"number": 5, "have": []})
        ada, bo = found["rows"], take(client, "bo", 5)
        assert [form["name"] for form in found["fields"]] == ["label", "score"]
        assert found["fields"][0]["allowed"] == ["billing", "bug", "other"]
        assert [name for name, _ in ada[0]["shown"]] == ["id", "body", "lang", "amount"]
        assert ada[0]["answers"][0]["rung"] == 1
        # Nobody gets the rows of somebody else; who comes back gets his own again.
        assert not {row["key"] for row in ada} & {row["key"] for row in bo}
        assert [row["key"] for row in take(client, "ada", 5)] == [row["key"] for row in ada]
        more = take(client, "ada", 3, [row["key"] for row in ada])
        assert not {row["key"] for row in more} & {row["key"] for row in (*ada, *bo)}
        assert outcomes(
            client, "ada", word(ada[0], "1"), word(ada[1], "2", other(ada[1])), word(ada[2], "3", {"label": "nonsense"})
        ) == ["accepted", "corrected", "refused"]
        # The same word again is the same word.
        assert outcomes(client, "ada", word(ada[0], "1")) == ["accepted"]
        # A second word about a row is told of the first, and may stand above it once that was seen.
        told = post(client, WORDS, "bo", {"words": [word(ada[1], "4"), word(bo[0], "5")]})["results"]
        by_id = {each["id"]: each for each in told}
        assert by_id["4"]["outcome"] == "told"
        assert by_id["4"]["message"].startswith("ada corrected it (label → ")
        assert by_id["5"]["outcome"] == "accepted"
        assert outcomes(client, "bo", word(ada[1], "6", seen=by_id["4"]["seen"])) == ["accepted"]
        # To take back leaves the word before it, and only one's own can be taken back.
        assert outcomes(client, "ada", {"id": "7", "key": ada[1]["key"], "undo": True}) == ["refused"]
        assert outcomes(client, "bo", {"id": "8", "key": ada[1]["key"], "undo": True}) == ["withdrawn"]
        assert outcomes(client, "ada", word(ada[3], "9"), {"id": "10", "key": ada[3]["key"], "undo": True}) == [
            "accepted",
            "withdrawn",
        ]
        assert outcomes(client, "ada", word(ada[3], "11", other(ada[3]))) == ["corrected"]
        # A run's or another program's word is told too.
        correct(reviewed, {int(json.loads(ada[4]["key"])[0]): other(ada[4])}, which="every", person="cy")
        assert outcomes(client, "ada", word(ada[4], "12")) == ["told"]
        assert outcomes(client, "ada", {**word(ada[0], "13"), "token": "old"}) == ["accepted"]
        assert outcomes(client, "ada", {**word(bo[1], "14"), "key": '["nobody"]'}) == ["overtaken"]
        progress = post(client, TAKE, "ada", {"number": 0})["progress"]
        assert (progress["rows"], progress["left"]) == (30, 25)
    of_both = "FROM ledger.reviews WHERE reviewed_by <> 'cy'"
    said = reviewed.sql(f"SELECT key, verdict, reviewed_by {of_both} ORDER BY seq, key")
    assert said == [
        (ada[0]["key"], "accepted", "ada"),
        (ada[1]["key"], "corrected", "ada"),
        (bo[0]["key"], "accepted", "bo"),
        (ada[1]["key"], "accepted", "bo"),
        (ada[1]["key"], "withdrawn", "bo"),
        (ada[3]["key"], "accepted", "ada"),
        (ada[3]["key"], "withdrawn", "ada"),
        (ada[3]["key"], "corrected", "ada"),
    ]
    # A process that is started again knows what was recorded, and records it no second time.
    with client_of(reviewed, let_in=False, **PROXY) as client:
        words = [word(ada[0], "1"), word(ada[3], "11", other(ada[3]))]
        assert outcomes(client, "ada", *words) == ["accepted", "corrected"]
        assert len(take(client, "ada", 100)) == 25
    assert reviewed.sql(f"SELECT count(*) {of_both}") == [(len(said),)]


def test_many_words_at_once_beside_a_run(reviewed: Project) -> None:
    """Three people speak while a run answers other rows; no word is lost and none is doubled."""
    reviewed.rows(numbered(60))
    spoken: dict[str, list[str]] = {}
    failures: list[BaseException] = []

    def review(client: TestClient, person: str) -> None:
        try:
            rows = take(client, person, 9)
            spoken[person] = [row["key"] for row in rows]
            for start in range(0, len(rows), 3):
                words = [word(row, f"{person} {row['key']}") for row in rows[start : start + 3]]
                assert set(outcomes(client, person, *words)) == {"accepted"}
                assert set(outcomes(client, person, *words)) == {"accepted"}
        except BaseException as error:
            failures.append(error)
            raise

    with client_of(reviewed, let_in=False, **PROXY) as client:
        threads = [threading.Thread(target=review, args=(client, person)) for person in ("ada", "bo", "cy")]
        for each in threads:
            each.start()
        reviewed.run()
        for each in threads:
            each.join()
    assert failures == []
    keys = [key for found in spoken.values() for key in found]
    assert len(keys) == len(set(keys)) == 27
    assert reviewed.sql("SELECT count(*), count(DISTINCT key) FROM ledger.reviews") == [(27, 27)]
    assert reviewed.sql("SELECT count(*) FROM demo") == [(60,)]


def test_what_cannot_be_read_is_refused(reviewed: Project) -> None:
    with client_of(reviewed, let_in=False, **PROXY) as client:
        odd = {"id": "1", "key": "[", "changes": 1}
        bodies: tuple[Any, ...] = ({"words": 1}, {"words": [1]}, {"words": [{}]}, {}, [], {"words": [odd]})
        for body in bodies:
            post(client, WORDS, "ada", body, 400)
        assert client.post(WORDS, headers=headers("ada"), content=b"{").status_code == 400
        assert client.post(WORDS, headers=headers("ada"), content=b"x" * 5_000_000).status_code == 413
        post(client, "/p/nothing/review/take", "ada", {}, 404)
        page = client.get("/p/demo/review", headers=headers("ada"))
        assert 'data-person="ada"' in page.text
    with client_of(reviewed, read_only=True) as client:
        assert "data-read-only" in client.get("/p/demo/review").text


def test_the_answer_to_a_row_of_the_sample_is_hidden(reviewed: Project) -> None:
    reviewed.pipeline(BASIC + "\n[review]\nsample = 1.0\n")
    with client_of(reviewed, let_in=False, **PROXY) as client:
        rows = take(client, "ada", 3)
        ((label, score),) = reviewed.sql("SELECT label, score FROM demo WHERE id = 1")
        assert all("label" in row["hidden"] for row in rows)
        assert all("label" not in row["texts"] and row["answers"] == [] for row in rows)
        assert outcomes(client, "ada", word(rows[0], "1")) == ["refused"]
        own = {"label": label} | ({"score": str(score)} if "score" in rows[0]["hidden"] else {})
        assert outcomes(client, "ada", word(rows[0], "2", own)) == ["accepted"]
    with client_of(reviewed, let_in=False, **PROXY) as client:
        reviewed.pipeline(BASIC + "\n[review]\nsample = 1.0\nblind = false\n")
        assert all(row["hidden"] == [] and row["answers"] for row in take(client, "bo", 3))


def test_a_lease_ends_after_five_minutes() -> None:
    leases = Leases(rows=6)
    assert leases.give("ada", 2, 0.0) == [0, 1]
    assert leases.give("bo", 2, 1.0) == [2, 3]
    assert leases.give("bo", 9, LEASE_SECONDS - 1, without=[2, 3]) == [4, 5]
    assert leases.give("cy", 9, LEASE_SECONDS - 1) == []
    # The rows of who no longer asks are free after five minutes, those of who still works at them are not.
    assert leases.give("cy", 9, LEASE_SECONDS + 5) == [0, 1]
    leases.say([0])
    assert leases.give("cy", 9, LEASE_SECONDS + 6) == [1]
    assert leases.left == 5
    # Who comes back after that, with rows on the screen, does not take them from whoever has them now.
    assert leases.give("ada", 9, LEASE_SECONDS + 7, without=[1]) == []
    assert leases.holder(1, LEASE_SECONDS + 7) == "cy"
    leases.return_to("cy", [0], LEASE_SECONDS + 7)
    assert sorted(leases.give("dan", 9, 3 * LEASE_SECONDS)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"have": ["\\ud800"], "number": 1}', 400),
        (b'{"number": 1e400}', 400),
        (b'{"number": -5}', 200),
        (b"[" * 99_999, 400),
    ],
)
def test_odd_numbers_of_rows_are_answered(reviewed: Project, body: bytes, status: int) -> None:
    with client_of(reviewed, let_in=False, **PROXY) as client:
        answer = client.post(TAKE, headers=headers("ada"), content=body)
        assert answer.status_code == status, answer.text
        assert answer.json().get("rows", []) == []
