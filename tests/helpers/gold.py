"""Gold rows, the models' answers to them, and `eval` over both."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from calls import Printed, ask
from projects import BASIC, Project, numbered

from batchpipe.commands.call.options import EvalRequest
from batchpipe.commands.eval.evaluate import evaluate
from batchpipe.emulator import Emulator

HAIKU, SONNET, OPUS = "claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-8"
GOLD = '\n[eval]\ngold = "gold.csv"\nexpect = { label = "category" }\nconfidence = "score"\n'
LADDER = (
    BASIC.replace("max_tokens = 200\n", 'max_tokens = 200\naccept = "score >= 0.5"\n')
    + f'\n[[models]]\nmodel = "{SONNET}"\nmax_tokens = 300\n'
)
LABELS = ("billing", "bug", "other")


def gold_rows(count: int, *, german: int = 0) -> list[dict[str, Any]]:
    """Return the input's rows with their true labels; no text is part of another one."""
    rows = numbered(count, german=german)
    return [row | {"body": f"question <{row['id']}>", "category": LABELS[row["id"] % 3]} for row in rows]


def wrong(label: str) -> str:
    return LABELS[(LABELS.index(label) + 1) % 3]


def answer_lines(rows: Sequence[Mapping[str, Any]], right: Mapping[str, Callable[[int], bool]]) -> list[dict[str, Any]]:
    """Return each model's answer to each row: its confidence is high in two of three right and one of seven
    wrong answers.
    """
    lines = []
    for model, is_right in right.items():
        for row in rows:
            number, label = row["id"], row["category"]
            good = is_right(number)
            sure = number % 3 != 1 if good else number % 7 == 0
            output = {"label": label if good else wrong(label), "score": 0.9 if sure else 0.25}
            lines.append({"model": model, "match": row["body"], "output": output})
    return lines


def answer_by(project: Project, lines: Sequence[Mapping[str, Any]]) -> None:
    """Let the emulator answer from `lines` from now on."""
    path = project.root / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    project.emulator.stop()
    project.emulator = Emulator(project.root / ".emulator", answers=path)
    project.emulator.start()


def run_eval(project: Project, *, as_json: bool = True, **options: Any) -> Printed:
    return ask(project, evaluate, EvalRequest(pipeline="demo", **options), as_json=as_json)


def report(project: Project, code: int = 0, **options: Any) -> Any:
    printed = run_eval(project, **options)
    assert printed.code == code, printed.talk
    return printed.value


def git(project: Project, *words: str) -> None:
    person = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *person, *words], cwd=project.root, check=True, capture_output=True)


RIGHT: Mapping[str, Callable[[int], bool]] = {
    HAIKU: lambda n: n % 10 < 7,
    SONNET: lambda n: n % 10 < 9,
    OPUS: lambda n: n % 20 != 0,
}

# A ladder that is held against a top model, without gold.
ASKED: dict[str, Any] = {"tune": True, "as_good_as": OPUS, "target": 0.85, "labels": 100}
CONFIDENT = LADDER.replace("score", "confidence")


def says(model: str, number: int) -> dict[str, Any]:
    """Return what a model says of a row: the cheap one is wrong in a sixth of the rows, and mostly unsure then."""
    label = LABELS[number % 3]
    if model == HAIKU and number % 6 == 1:
        return {"label": wrong(label), "confidence": 0.9 if number % 5 == 0 else 0.3}
    if model == SONNET and number % 50 == 3:
        return {"label": wrong(label), "confidence": 0.7}
    return {"label": label, "confidence": 0.95}
