"""Make `project.tar.xz`: a project whose database has schema version 1, with its raw folder and its emulator's service.

It is made by the code of commit 500c3f6, the last one of that schema, over DuckDB 1.5.5, whose files newer ones read:

    git worktree add /tmp/before 500c3f6
    PYTHONPATH=/tmp/before python tests/store/yesterday/make.py tests/store/yesterday/project.tar.xz
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PIPELINE = """
[input]
query = "SELECT id, body, lang FROM read_csv('{name}.csv', types = {{'id': 'VARCHAR'}})"
key = "id"

[prompt]
user_text = "{prompt}{{% if lang == 'de' %}} {german}{{% endif %}}"

[output.fields.label]
type = "string"
enum = ["billing", "bug", "other"]
[output.fields.confidence]
type = "number"
minimum = 0
maximum = 1

[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
{accept}
[[models]]
model = "claude-sonnet-4-6"
max_tokens = 300
{more}
"""


def write_rows(root: Path, name: str, rows: list[tuple[str, str, str]]) -> None:
    with (root / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "body", "lang"), *rows])


def write_pipeline(
    root: Path, name: str, prompt: str = "{{ body }}", german: str = "Auf Deutsch.", **parts: str
) -> None:
    accept, more = parts.get("accept", 'accept = "confidence >= 0.3"'), parts.get("more", "")
    text = PIPELINE.format(name=name, prompt=prompt, german=german, accept=accept, more=more)
    (root / "pipelines" / f"{name}.toml").write_text(text, encoding="utf-8")


def call(root: Path, *arguments: str, delay: float = 0, codes: tuple[int, ...] = (0,)) -> Any:
    """Run a command and return what it printed as JSON, where it printed any."""
    command = [sys.executable, "-m", "batchpipe", "-C", str(root), "--emulator", *arguments]
    environment = os.environ | {"BATCHPIPE_EMULATOR_DELAY": str(delay)}
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode in codes, (arguments, ended.returncode, ended.stdout, ended.stderr)
    return json.loads(ended.stdout) if "--json" in arguments else None


def numbered(count: int) -> list[tuple[str, str, str]]:
    return [(f"r{number}", f"text number {number}", "de" if number % 4 == 0 else "en") for number in range(count)]


def answer_under_three_prompts(root: Path) -> None:
    write_rows(root, "demo", numbered(60))
    review = '[review]\nsample = 0.3\n[eval]\ngold = "gold.csv"\n'
    for prompt, german in (("{{ body }}", "Auf Deutsch."), ("{{ body }}", "Bitte."), ("Label: {{ body }}", "Bitte.")):
        write_pipeline(root, "demo", prompt, german, more=review)
        call(root, "run", "demo", "--yes")


def review(root: Path) -> list[str]:
    """Correct two answers, agree with another one; return the keys that a person was shown."""
    sheet = root / "sheet.csv"
    call(root, "review", "demo", "--export", str(sheet))
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file))
    header = lines[0]
    label, verdict = header.index("label"), header.index("verdict") if "verdict" in header else None
    for place, line in enumerate(lines[1:4]):
        if place < 2:
            line[label] = "bug" if line[label] != "bug" else "other"
        if verdict is not None:
            line[verdict] = "accepted" if place == 2 else "corrected"
    with sheet.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    call(root, "review", "demo", "--import", str(sheet))
    shown = [line[header.index("id")] for line in lines[1:]]
    sheet.unlink()
    return shown


def evaluate(root: Path) -> None:
    rows = [(f"r{number}", "bug" if number % 2 else "other") for number in range(0, 40)]
    with (root / "gold.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "label"), *rows])
    call(root, "eval", "demo", "--models", "all", "--yes", codes=(0, 1))


def make(root: Path) -> None:
    (root / "batchpipe.toml").write_text("[tool.batchpipe]\n", encoding="utf-8")
    (root / "pipelines").mkdir()
    answer_under_three_prompts(root)
    expected: dict[str, Any] = {"reviewed": review(root)}
    evaluate(root)
    write_rows(root, "tried", numbered(30))
    write_pipeline(root, "tried")
    tried = call(root, "try", "tried", "--rows", "4", "--json")
    expected["tried"] = [each["key"] for each in (tried["rows"] if isinstance(tried, dict) else tried)]
    write_rows(root, "piloted", numbered(40))
    write_pipeline(root, "piloted", more="[pilot]\nrows = 8\n")
    call(root, "run", "piloted", "--yes", codes=(6,))
    write_rows(root, "limited", numbered(50))
    write_pipeline(root, "limited")
    call(root, "run", "limited", "--yes", "--limit", "7")
    write_rows(root, "flying", [*numbered(25), ("twin", "text number 3", "en"), ("other twin", "text number 5", "en")])
    write_pipeline(root, "flying", more="[chunking]\nmax_requests = 10\n")
    call(root, "run", "flying", "--yes", "--no-wait", delay=360_000, codes=(5,))
    expected["plans"] = {}
    for name, prompt, german in (
        ("demo", "Label: {{ body }}", "Antworte deutsch."),
        ("flying", "Label: {{ body }}", ""),
    ):
        kept = (root / "pipelines" / f"{name}.toml").read_text(encoding="utf-8")
        given = "[review]\nsample = 0.3\n" if name == "demo" else "[chunking]\nmax_requests = 10\n"
        write_pipeline(root, name, prompt, german, more=given)
        edited = (root / "pipelines" / f"{name}.toml").read_text(encoding="utf-8")
        expected["plans"][name] = {"edited": edited, "plan": call(root, "plan", name, "--json")}
        (root / "pipelines" / f"{name}.toml").write_text(kept, encoding="utf-8")
    expected["eval"] = call(root, "eval", "demo", "--models", "all", "--yes", "--json", codes=(0, 1))
    (root / "expected.json").write_text(json.dumps(expected), encoding="utf-8")


def main(target: str) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        root.mkdir()
        make(root)
        with tarfile.open(target, "w:xz") as archive:
            for each in sorted(root.rglob("*")):
                if each.is_file() and "locks" not in each.parts:
                    archive.add(each, arcname=str(each.relative_to(root)))


if __name__ == "__main__":
    main(sys.argv[1])
