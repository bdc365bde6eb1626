"""Pictures, documents and files of rows: from the paths, addresses and bytes of the input to the provider and back."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
from checkout import copy_examples
from commandline import CommandLine
from projects import Project

from batchpipe.cli.main import main
from batchpipe.common.errors import PipelineError
from batchpipe.decide.chunking import ChunkLimits, partition
from media.drawn import gif, pdf, png

FILES = """
[input]
query = "SELECT id, photo, note FROM read_csv('rows.csv', types = {'id': 'BIGINT'})"
key = "id"

[prompt]
user_text = "What is on it? {{ image(photo) }} {{ note }}"

[output.fields.label]
type = "string"
enum = ["red", "green", "blue"]

[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""
BOTH = FILES.replace("photo, note", "photo, letter, note").replace(
    "{{ image(photo) }}", "{{ image(photo) }}{% if letter %}{{ pdf(letter) }}{% endif %}"
)
MODELS = ["claude-haiku-4-5", "openai:gpt-6-luna", "chat:gpt-6-luna", "gemini:gemini-3.5-flash"]


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    return CommandLine(monkeypatch=monkeypatch, capsys=capsys)


def write(project: Project, name: str, data: bytes) -> str:
    path = project.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name


def settle(project: Project, folder: str = "photos") -> None:
    """Let the files be old, so that their hashes are settled."""
    for path in (project.root / folder).iterdir():
        os.utime(path, ns=(10**18, 10**18))


def pictures(project: Project, count: int) -> list[dict[str, Any]]:
    rows = [
        {"id": number, "photo": write(project, f"photos/{number}.png", png(number)), "note": f"note {number}"}
        for number in range(1, count + 1)
    ]
    project.rows(rows)
    return rows


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def received(project: Project) -> Counter[str]:
    """Return the hashes of the files that the emulator decoded out of the requests of all batches."""
    batches = project.log()["batches"].values()
    return Counter(each for batch in batches for request in batch["requests"] for each in request.get("files", ()))


def test_a_picture_of_each_row_is_sent_and_a_changed_one_is_one_request(project: Project) -> None:
    project.pipeline(FILES)
    pictures(project, 5)
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 5, 5)
    assert received(project) == Counter(hash_of(png(number)) for number in range(1, 6))
    assert project.run().submitted == 0
    write(project, "photos/3.png", png(99))
    plan = project.plan()
    assert (plan.rows_by_reason["input_changed"], plan.requests) == (1, 1)
    assert project.run().submitted == 1
    assert received(project)[hash_of(png(99))] == 1
    # The same picture under another name is the same request.
    (project.root / "photos" / "3.png").rename(project.root / "photos" / "other.png")
    project.sql("SELECT 1")
    rows = [{"id": 3, "photo": "photos/other.png", "note": "note 3"}]
    project.rows([*pictures(project, 2), *rows])
    assert project.run().submitted == 0


@pytest.mark.parametrize("model", MODELS)
def test_each_protocol_reads_back_what_was_drawn(project: Project, model: str, full_sweep: bool) -> None:
    """In full: 200 pictures and 50 documents."""
    count, letters = (200, 50) if full_sweep else (12, 4)
    if model.startswith("chat:"):
        model = model.replace("chat", "openai")
        project.settings["providers"] = {"openai": {"endpoint": "/v1/chat/completions"}}
    project.pipeline(BOTH.replace("claude-haiku-4-5", model))
    rows, drawn = [], Counter[str]()
    for number in range(1, count + 1):
        picture = png(number, width=40 + number, height=30)
        drawn[hash_of(picture)] += 1
        row = {
            "id": number,
            "photo": write(project, f"photos/{number}.png", picture),
            "letter": "",
            "note": f"{number}",
        }
        if number <= letters:
            letter = pdf(number, pages=1 + number % 3)
            drawn[hash_of(letter)] += 1
            row["letter"] = write(project, f"letters/{number}.pdf", letter)
        rows.append(row)
    project.rows(rows)
    result = project.run()
    assert (result.status, result.rows["accepted"]) == ("done", count)
    assert received(project) == drawn


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "openai:gpt-6-luna", "gemini:gemini-3.5-flash"])
def test_realtime_calls_and_try_send_them_too(project: Project, model: str) -> None:
    project.pipeline(FILES.replace('model = "claude-haiku-4-5"', f'model = "{model}"\nmode = "realtime"'))
    pictures(project, 4)
    (tried,) = project.attempt(keys=['["1"]'])
    assert tried.verdict == "accepted"
    assert "photos/1.png, image/png" in tried.user
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 4, 3)


def test_bytes_of_the_input_are_sent_and_kept_nowhere(project: Project) -> None:
    database = project.root / "source.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE TABLE scans (id BIGINT, photo BLOB, note VARCHAR)")
        for number in range(1, 6):
            connection.execute("INSERT INTO scans VALUES (?, ?, ?)", [number, png(number), f"note {number}"])
    text = FILES.replace("read_csv('rows.csv', types = {'id': 'BIGINT'})", "s.scans")
    project.pipeline(text.replace('key = "id"', 'key = "id"\nsetup = ["ATTACH \'source.duckdb\' AS s (READ_ONLY)"]'))
    assert project.run().submitted == 5
    assert received(project) == Counter(hash_of(png(number)) for number in range(1, 6))
    assert project.run().submitted == 0
    with duckdb.connect(str(database)) as connection:
        connection.execute("UPDATE scans SET photo = ? WHERE id = 2", [png(77)])
    assert project.run().submitted == 1
    assert received(project)[hash_of(png(77))] == 1
    assert not list((project.root / ".batchpipe" / "work").rglob("files*.parquet"))
    inside = project.sql("SELECT input_values FROM ledger.requests ORDER BY seq LIMIT 1")[0][0]
    assert f"image/png {hash_of(png(1))}" in inside or any(hash_of(png(n)) in str(inside) for n in range(1, 6))
    (tried,) = project.attempt(keys=['["4"]'])
    assert tried.verdict == "accepted"


def test_a_list_is_several_blocks_and_null_is_none(project: Project) -> None:
    names = [write(project, f"photos/{number}.png", png(number)) for number in (1, 2)]
    values = f"(1, {names}, 'two'), (2, NULL, 'none'), (3, [NULL, '{names[0]}'], 'one')"
    query = f"SELECT * FROM (VALUES {values}) t (id, photo, note)"
    given = FILES.replace("SELECT id, photo, note FROM read_csv('rows.csv', types = {'id': 'BIGINT'})", query)
    project.pipeline(given)
    assert project.run().rows["accepted"] == 3
    assert received(project) == Counter({hash_of(png(1)): 2, hash_of(png(2)): 1})


def test_an_address_is_sent_as_it_is_and_a_version_is_its_identity(project: Project) -> None:
    rows = [{"id": 1, "photo": "https://example.com/a.png?signature=1", "note": "v1"}]
    project.rows(rows)
    project.pipeline(FILES.replace("image(photo)", "image(photo, version = note)").replace(" {{ note }}", ""))
    assert project.run().submitted == 1
    project.rows([{**rows[0], "photo": "https://example.com/a.png?signature=2"}])
    assert project.run().submitted == 0
    project.rows([{**rows[0], "note": "v2"}])
    assert project.run().submitted == 1


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("photos/none.png", "there is no such file"),
        ("photos/.hidden.png", "begins with a dot"),
        (".batchpipe/x.png", "begins with a dot"),
        (".secret/x.png", "begins with a dot"),
        ("photos/link.png", "not below the project"),
        ("photos/linked/outside.png", "not below the project"),
        ("../outside.png", "not below the project"),
        ("/etc/hostname", "not below the project"),
        ("batchpipe.duckdb", "the database is never sent"),
        ("photos/text.png", "of an unknown type"),
        ("photos/letter.png", "application/pdf"),
        ("photos/empty.png", "it is empty"),
        ("photos", "it is no file"),
        ("photos/large.png", "too large"),
        ("photos/a\\nb.png", "there is no such file"),
    ],
)
def test_what_may_not_be_sent_fails_its_row_alone(
    project: Project, path: str, words: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "outside.png"
    outside.write_bytes(png(9))
    for name in ("photos/.hidden.png", ".batchpipe/x.png", ".secret/x.png"):
        write(project, name, png(5))
    write(project, "photos/text.png", b"PASSWORD=1")
    write(project, "photos/letter.png", pdf(1))
    write(project, "photos/empty.png", b"")
    write(project, "photos/large.png", png(6)[:-4] + bytes(6_000_000))
    (project.root / "photos" / "link.png").symlink_to(outside)
    (project.root / "photos" / "linked").symlink_to(outside.parent)
    (project.root.parent / "outside.png").write_bytes(png(8))
    rows = pictures(project, 2)
    project.rows([*rows, {"id": 3, "photo": path.replace("\\n", "\n"), "note": "x"}])
    project.pipeline(FILES)
    result = project.run()
    assert (result.status, result.rows["accepted"], result.rows["failed"]) == ("failed_rows", 2, 1)
    assert words in project.sql("SELECT error FROM ledger.row_state WHERE state = 'failed'")[0][0]
    assert set(received(project)) == {hash_of(png(1)), hash_of(png(2))}


def test_a_row_goes_on_once_its_file_is_there(project: Project) -> None:
    project.pipeline(FILES)
    rows = pictures(project, 2)
    project.rows([*rows, {"id": 3, "photo": "photos/3.png", "note": "late"}])
    assert project.run().rows["failed"] == 1
    write(project, "photos/3.png", png(3))
    result = project.run()
    assert (result.status, result.submitted, result.rows["accepted"]) == ("done", 1, 3)


def test_file_and_paths_of_answers_need_media_roots(project: Project) -> None:
    rows = [{"id": 1, "photo": write(project, "letters/1.txt", b"Dear Sir"), "note": "x"}]
    project.rows(rows)
    text = FILES.replace("image(photo)", "file(photo, 'text/plain')")
    project.pipeline(text)
    with pytest.raises(PipelineError, match="media_roots"):
        project.plan()
    project.pipeline(text.replace("[prompt]", '[prompt]\nmedia_roots = ["elsewhere"]'))
    assert project.run().rows["failed"] == 1
    project.pipeline(text.replace("[prompt]", '[prompt]\nmedia_roots = ["letters"]'))
    assert project.run().rows["accepted"] == 1


def test_paths_that_another_pipeline_answered_need_media_roots(project: Project) -> None:
    pictures(project, 2)
    project.pipeline(FILES.replace("{{ image(photo) }}", "").replace('enum = ["red", "green", "blue"]', ""), "first")
    project.run("first")
    reads = "SELECT id, 'photos/1.png' AS photo, label AS note FROM first"
    given = FILES.replace("SELECT id, photo, note FROM read_csv('rows.csv', types = {'id': 'BIGINT'})", reads)
    project.pipeline(given)
    assert project.run().rows["failed"] == 2
    project.pipeline(given.replace("[prompt]", '[prompt]\nmedia_roots = ["photos"]'))
    assert project.run().rows["accepted"] == 2


def test_no_text_of_a_row_looks_like_a_file(project: Project) -> None:
    rows = pictures(project, 1)
    place = '{"batchpipe:file":["","' + hash_of(png(1)) + '","base64"]}'
    notes = [
        place,
        place.replace('"', '\\"'),
        f'["What is on it? ",["image","image/png","{hash_of(png(1))}"]]',
        "\x02x:0\x03",
    ]
    project.rows([{**rows[0], "id": number, "note": note} for number, note in enumerate(notes, start=1)])
    project.pipeline(FILES)
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 4, 4)
    assert received(project) == Counter({hash_of(png(1)): 4})


def test_a_file_that_changes_after_the_plan_is_not_sent(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.pipeline(FILES)
    pictures(project, 3)
    real = Path.read_bytes

    def changing(path: Path) -> bytes:
        if path.name == "2.png":
            path.write_bytes(png(55))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", changing)
    result = project.run()
    assert hash_of(png(55)) not in received(project)
    assert (result.rows["accepted"], received(project)) == (2, Counter({hash_of(png(1)): 1, hash_of(png(3)): 1}))
    monkeypatch.undo()
    assert project.plan().rows_by_reason["new"] + project.plan().rows_by_reason["input_changed"] == 1
    assert project.run().submitted == 1
    assert received(project)[hash_of(png(55))] == 1


def test_unchanged_files_are_not_opened(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.pipeline(FILES)
    pictures(project, 3)
    settle(project)
    project.run()
    opened: list[Path] = []
    real = Path.open

    def watched(path: Path, *arguments: Any, **named: Any) -> Any:
        opened.append(path)
        return real(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", watched)
    assert project.run().submitted == 0
    assert not [path for path in opened if path.suffix == ".png"]


def test_what_a_provider_does_not_take_goes_to_a_rung_that_does(project: Project) -> None:
    rows = [{"id": 1, "photo": write(project, "photos/1.gif", gif()), "note": "a gif"}]
    project.rows(rows)
    second = '\n[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 200\n'
    project.pipeline(FILES.replace("claude-haiku-4-5", "gemini:gemini-3.5-flash") + second)
    assert project.run().rows["accepted"] == 1
    assert project.sql("SELECT model FROM ledger.requests WHERE leads") == [("claude-sonnet-4-6",)]


def test_the_estimate_counts_tokens_and_not_bytes(project: Project) -> None:
    project.pipeline(FILES)
    large = png(1, width=900, height=900, noise=300)
    project.rows([{"id": 1, "photo": write(project, "photos/1.png", large), "note": "x"}])
    assert len(large) > 500_000
    estimate = project.plan().estimate
    assert 900 * 900 / 750 < estimate.input_tokens < 2_000
    result = project.run()
    assert abs(result.tokens["input"] - estimate.input_tokens) < 400


def test_show_names_the_file_and_its_hash(project: Project, typed: CommandLine) -> None:
    project.pipeline(FILES)
    pictures(project, 1)
    shown = typed("show", "demo", "1")
    assert f"photos/1.png, image/png, {len(png(1))} bytes, 64 x 48 pixels, sha256 {hash_of(png(1))}" in shown.out
    assert typed("check", "demo").code == 0
    project.run()
    assert hash_of(png(1)) in typed("show", "demo", "1").out
    write(project, "photos/1.png", png(2))
    assert hash_of(png(2)) in typed("plan", "demo", "--diff").out


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("{{ image(phto) }}", "`phto` is none here"),
        ("{{ image(note | upper) }}", "takes the name of an input column"),
        ("{{ image(photo) | upper }}", "the filter `upper` changes what image\\(photo\\) gives"),
        ("{{ image(id) }}", "cannot send BIGINT"),
        ("{{ file(photo) }}", "a media type"),
        ("{{ image(photo) }}{{ pdf(photo) }}", "sent in two ways"),
    ],
)
def test_mistakes_in_templates_are_found_before_anything_is_sent(project: Project, edit: str, words: str) -> None:
    pictures(project, 1)
    project.pipeline(FILES.replace("{{ image(photo) }}", edit))
    with pytest.raises(PipelineError, match=words):
        project.plan()


def test_a_system_prompt_has_no_files(project: Project) -> None:
    pictures(project, 1)
    project.pipeline(FILES.replace("[prompt]", '[prompt]\nsystem_text = "{{ image(photo) }}"'))
    with pytest.raises(PipelineError, match="system prompt"):
        project.plan()


def test_the_example_names_the_colours_of_swatches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_examples(tmp_path)
    monkeypatch.chdir(tmp_path)
    main(["run", "swatch_colours", "--emulator"])
    with duckdb.connect(str(tmp_path / ".batchpipe/emulator/batchpipe.duckdb"), read_only=True) as connection:
        found = connection.execute("SELECT swatch_id, colour FROM swatch_colours ORDER BY ALL").fetchall()
    assert found[:4] == [("S-01", "red"), ("S-02", "green"), ("S-03", "blue"), ("S-04", "yellow")]
    assert len(found) == 8


def test_new_sends_the_pictures_that_a_file_names(project: Project, typed: CommandLine) -> None:
    pictures(project, 3)
    assert typed("new", "receipts", "--input", "rows.csv").code == 0
    prompt = (project.root / "prompts" / "receipts" / "user.md.j2").read_text(encoding="utf-8")
    assert "<photo>{{ image(photo) }}</photo>" in prompt
    assert "<note>{{ note }}</note>" in prompt
    assert typed("check", "receipts").code == 0
    assert project.run("receipts").rows["accepted"] == 3


def test_an_evaluation_and_a_panel_send_them_too(project: Project, typed: CommandLine) -> None:
    pictures(project, 3)
    gold = "[eval]\ngold = \"SELECT id, 'red' AS label FROM read_csv('rows.csv', types = {'id': 'BIGINT'})\"\n"
    project.pipeline(FILES + gold)
    assert typed("eval", "demo", "--yes").code == 0
    assert sum(received(project).values()) == 3
    panel = 'panel = ["claude-sonnet-4-6", "openai:gpt-6-luna", "gemini:gemini-3.5-flash"]'
    project.pipeline(FILES.replace('model = "claude-haiku-4-5"', panel))
    assert project.run(redo="all").status == "done"
    assert sum(received(project).values()) == 12


def test_few_large_requests_do_not_run_out_of_sizes() -> None:
    """23 requests fill a body: any 8 chunks in a row differ in size, and none becomes small by it."""
    limits = ChunkLimits(max_requests=10_000, max_bytes=32_000_000, max_in_flight=8)
    counts = [each.count for each in partition(lambda start, most, size: (min(most, 23), 1), limits, total=2_000)]
    assert all(len(set(counts[place : place + 8])) == 8 for place in range(len(counts) - 8))
    assert min(counts[:-1]) >= 11
