"""Measure many files and large ones: `python -m tests.media [FILES] [MEGABYTES]`, by default a million and 2,000.

The first part looks at FILES unchanged files as a run does each night, and counts those that are opened. The second one
sends MEGABYTES of pictures that all differ to the emulator, and says how much memory the run takes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from projects import Project  # noqa: E402

from batchpipe.engine.source.files import kept_looks, record_files  # noqa: E402
from batchpipe.pipeline.load import load  # noqa: E402
from media.drawn import png  # noqa: E402

PIPELINE = """
[input]
query = "SELECT id, photo FROM read_csv('rows.csv', types = {'id': 'BIGINT', 'photo': 'VARCHAR'})"
key = "id"
[prompt]
user_text = "What is on it? {{ image(photo) }}"
[output.fields.label]
type = "string"
enum = ["red", "green", "blue"]
[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""
IN_A_FOLDER = 1_000
PICTURE_BYTES = 4_500_000


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def look_at(count: int, root: Path) -> None:
    """Look at `count` files twice, and print the time and the opened files of the second look.

    Few of them are files of their own: the others are further names of these, which a look tells from them no more than
    from other files.
    """
    project = Project(root)
    made = []
    for number in range(count):
        folder = root / "photos" / str(number // IN_A_FOLDER)
        if number % IN_A_FOLDER == 0:
            folder.mkdir(parents=True)
        path = folder / f"{number}.png"
        if number < IN_A_FOLDER:
            path.write_bytes(png(number, width=16, height=16))
            os.utime(path, ns=(10**18, 10**18))
            made.append(path)
        else:
            path.hardlink_to(made[number % IN_A_FOLDER])
    with (root / "rows.csv").open("w", encoding="utf-8") as rows:
        rows.write("id,photo\n")
        rows.writelines(f"{number},photos/{number // IN_A_FOLDER}/{number}.png\n" for number in range(count))
    project.pipeline(PIPELINE)
    opened = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal opened
        opened += event == "open" and str(arguments[0]).endswith(".png")

    sys.addaudithook(watch)
    context = project.context()
    file = load(root / "pipelines" / "demo.toml", root)
    for turn in ("first", "unchanged"):
        begun, used, before = time.monotonic(), time.process_time(), opened
        with context.source(file, {}) as source:
            resolved = context.resolve(file, source)
            snapshot = source.snapshot(root / f"{turn}.parquet", resolved.input_columns)
        wall, cpu = time.monotonic() - begun, time.process_time() - used
        say(f"{turn} look at {snapshot.rows:,} files: {wall:.1f} s, {cpu:.1f} s of CPU, {opened - before:,} opened")
        looks = kept_looks(context.looks_folder)
        if looks:
            with context.database.writing(context.work(), None) as session:
                record_files(session, looks)
            for each in looks:
                each.unlink()
    context.close()
    project.close()


def send(megabytes: int, root: Path) -> None:
    """Send pictures of so many megabytes together, and print the time and the memory of the run."""
    project = Project(root)
    count = max(megabytes * 1_000_000 // PICTURE_BYTES, 1)
    (root / "photos").mkdir()
    total = 0
    with (root / "rows.csv").open("w", encoding="utf-8") as rows:
        rows.write("id,photo\n")
        for number in range(count):
            data = png(number, width=1_000, height=1_490, noise=1_490)
            total += (root / "photos" / f"{number}.png").write_bytes(data)
            rows.write(f"{number},photos/{number}.png\n")
    (root / "batchpipe.toml").touch()
    project.pipeline(PIPELINE)
    begun = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "batchpipe", "run", "demo", "--yes"],
        cwd=root,
        env={**os.environ, **project.environment, "BATCHPIPE_POLL_INTERVAL": "0.2"},
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    say(
        f"sent {count:,} pictures of {total / 1e9:.2f} GB: exit {child.returncode}, {time.monotonic() - begun:.0f} s, "
        f"{usage.ru_utime + usage.ru_stime:.0f} s of CPU, {usage.ru_maxrss / 1024:,.0f} MB of memory at most"
    )
    taken = sum(len(batch["requests"]) for batch in project.log()["batches"].values())
    say(f"the emulator has taken {taken:,} requests")
    project.close()


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.media", description=__doc__)
    parser.add_argument("files", type=int, nargs="?", default=1_000_000)
    parser.add_argument("megabytes", type=int, nargs="?", default=2_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="media-") as folder:
        for name, part, size in (("look", look_at, asked.files), ("send", send, asked.megabytes)):
            if size:
                root = Path(folder) / name
                (root / "pipelines").mkdir(parents=True)
                part(size, root)


if __name__ == "__main__":
    main()
