"""Draw the README's picture: a run, an edited row and the run after it, as the program prints them.

`python tests/terminal_picture.py` runs the commands on the emulator in a copy of the examples, and writes the picture.
Times and batch ids differ from run to run: the picture has fixed ones, so that the same output gives the same picture.
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from checkout import PACKAGE, ROOT, copy_examples

PICTURE = PACKAGE / "docs" / "pictures" / "run.svg"
COMMANDS = (
    "batchpipe run ticket_triage --emulator",
    "sed -i.old 's/twice in March/twice in April/' pipelines/data/tickets.csv",
    "batchpipe run ticket_triage --emulator",
)
CLOCK = re.compile(r"\b\d\d:\d\d:\d\d\b")
BATCH = re.compile(r"\bmsgbatch_\w+")
MONEY = re.compile(r"\$[\d,.]*\d")
WIDTH, LINE, TOP, LEFT = 860, 20, 52, 24
STYLE = (
    "text{font:13.5px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre;fill:#d7dae0}"
    ".soft{fill:#8b919b}.command{fill:#ffffff;font-weight:600}.good{fill:#7fd18b}.money{fill:#f0c674}"
)


def printed() -> list[str]:
    """Return the lines of the session: each command behind `$ `, then what it prints."""
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        root = copy_examples(Path(folder) / "project")
        for command in COMMANDS:
            ended = subprocess.run(
                ["sh", "-c", f'batchpipe() {{ "{sys.executable}" -m batchpipe "$@"; }}\n{command}'],
                cwd=root,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=True,
            )
            lines += [f"$ {command}", *ended.stdout.splitlines(), ""]
    return steady(lines[:-1])


def steady(lines: Sequence[str]) -> list[str]:
    """Return the lines with clock times that count up from 09:00:00 and with numbered batches."""
    names: dict[str, str] = {}
    moments = iter(range(len(lines) * 2))

    def moment(_: re.Match[str]) -> str:
        seconds = next(moments)
        return f"09:{seconds // 60:02}:{seconds % 60:02}"

    def batch(found: re.Match[str]) -> str:
        return names.setdefault(found[0], f"msgbatch_{len(names) + 1:04}")

    return [BATCH.sub(batch, CLOCK.sub(moment, line)) for line in lines]


def picture(lines: Sequence[str]) -> str:
    """Return a terminal window with `lines` as SVG, which reads alike on light and dark pages."""
    height = TOP + LINE * len(lines) + 16
    dots = "".join(
        f'<circle cx="{LEFT + 18 * number}" cy="22" r="6" fill="{colour}"/>'
        for number, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    texts = [
        f'<text x="{LEFT}" y="{TOP + LINE * number + 8}">{_coloured(line)}</text>'
        for number, line in enumerate(lines)
        if line
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="A run of batchpipe in a terminal, and the run after one row was edited">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#1d2026"/>\n{dots}\n' + "\n".join(texts) + "\n</svg>\n"
    )


def _coloured(line: str) -> str:
    if line.startswith("$ "):
        return f'<tspan class="soft">$ </tspan><tspan class="command">{html.escape(line[2:], quote=False)}</tspan>'
    shown = html.escape(line, quote=False)
    shown = CLOCK.sub(lambda found: f'<tspan class="soft">{found[0]}</tspan>', shown)
    shown = MONEY.sub(lambda found: f'<tspan class="money">{found[0]}</tspan>', shown)
    return re.sub(r"(\d+ accepted|: done)", r'<tspan class="good">\1</tspan>', shown)


if __name__ == "__main__":
    PICTURE.write_text(picture(printed()), encoding="utf-8")
    print(PICTURE.relative_to(ROOT))  # noqa: T201
