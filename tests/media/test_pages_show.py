"""Files of rows on the pages: pictures of rows are shown, and nothing else of the machine."""

from __future__ import annotations

from urllib.parse import quote

import duckdb
from pages.shown import WRITE, client_of
from projects import Project
from starlette.testclient import TestClient

from media.drawn import pdf, png
from media.test_files import BOTH, FILES, hash_of, write


def page_with_picture(client: TestClient) -> tuple[str, str]:
    """Return the page of row 1, once it is whole, and where its picture is, which is shown and runs nothing."""
    page = client.get("/p/demo/row/1").text
    while "being read" in page:
        page = client.get("/p/demo/row/1").text
    source = f"/p/demo/file/{hash_of(png(1))}/1"
    assert f'<img src="{source}"' in page
    shown = client.get(source)
    assert (shown.status_code, shown.content) == (200, png(1))
    assert shown.headers["content-type"] == "image/png"
    assert shown.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert shown.headers["x-content-type-options"] == "nosniff"
    return page, source


def test_the_row_and_the_desk_show_what_the_row_has_sent_and_nothing_else(project: Project) -> None:
    project.pipeline(BOTH + '\n[review]\nwhere = "true"\n')
    rows = []
    for number in (1, 2):
        photo = write(project, f"photos/{number} a.png", png(number))
        letter = write(project, f"letters/{number}.pdf", pdf(number))
        rows.append({"id": number, "photo": photo, "letter": letter, "note": f"n {number}"})
    write(project, "photos/secret.png", png(9))
    project.rows(rows)
    assert project.run().rows["accepted"] == 2
    (project.root / "batchpipe.toml").touch()
    with client_of(project) as client:
        page, source = page_with_picture(client)
        assert f"1.pdf, application/pdf, {len(pdf(1)):,} bytes, 1 pages" in page
        assert hash_of(pdf(1)) in page
        assert str(project.root) not in page
        # The picture of another row, a document, a file that no row names, and what is no hash.
        for sha256, key in (
            (hash_of(png(2)), "1"),
            (hash_of(pdf(1)), "1"),
            (hash_of(png(9)), "1"),
            (hash_of(png(1)), "3"),
            ("%", "1"),
            ("image/png", "1"),
            ("..%2f..%2fetc%2fpasswd", "1"),
        ):
            assert client.get(f"/p/demo/file/{quote(sha256, safe='%')}/{key}").status_code == 404, sha256
        # What a link leads to outside, and another content, are not shown.
        place = project.root / "photos" / "1 a.png"
        place.unlink()
        place.symlink_to("/etc/hostname")
        assert client.get(source).status_code == 404
        place.unlink()
        place.write_bytes(png(9))
        assert client.get(source).status_code == 404
        place.write_bytes(png(1))
        assert client.get(source).status_code == 200
        taken = client.post("/p/demo/review/take", json={"number": 5, "have": []}, headers=WRITE).json()["rows"]
        first = next(each for each in taken if each["key"] == '["1"]')
        assert [each["source"] for each in first["files"]] == [source, None]
        assert first["files"][0]["words"] == f"1 a.png, image/png, {len(png(1))} bytes, 64 x 48 pixels"
        assert not [name for name, _ in [*first["shown"], *first["rest"]] if "content" in name]
        assert str(project.root) not in str(taken)


def test_pictures_that_are_bytes_of_the_input_are_shown_too(project: Project) -> None:
    with duckdb.connect(str(project.root / "source.duckdb")) as connection:
        connection.execute("CREATE TABLE t (id INTEGER, photo BLOB, note VARCHAR)")
        connection.execute("INSERT INTO t VALUES (1, $1, 'a'), (2, $2, 'b'), (3, NULL, 'c')", [png(1), png(2)])
    text = FILES.replace("FROM read_csv('rows.csv', types = {'id': 'BIGINT'})", "FROM s.t")
    project.pipeline(text.replace("[prompt]", """setup = ["ATTACH 'source.duckdb' AS s (READ_ONLY)"]\n[prompt]"""))
    assert project.run().rows["accepted"] == 3
    (project.root / "batchpipe.toml").touch()
    with client_of(project) as client:
        _, source = page_with_picture(client)
        for sha256, key in ((hash_of(png(2)), "1"), (hash_of(png(1)), "2"), (hash_of(png(1)), "3")):
            assert client.get(f"/p/demo/file/{sha256}/{key}").status_code == 404
        with duckdb.connect(str(project.root / "source.duckdb")) as connection:
            connection.execute("UPDATE t SET photo = $1 WHERE id = 1", [png(9)])
        assert client.get(source).status_code == 404


def test_a_page_of_a_row_without_files_has_none(project: Project) -> None:
    project.pipeline(BOTH.replace("{{ image(photo) }}", "").replace("{{ pdf(letter) }}", ""))
    project.rows([{"id": 1, "photo": "x", "letter": "", "note": "n"}])
    project.run()
    (project.root / "batchpipe.toml").touch()
    with client_of(project) as client:
        assert "<h2>Files" not in client.get("/p/demo/row/1").text
        assert client.get(f"/p/demo/file/{'0' * 64}/1").status_code == 404
