"""The project that `init` writes: one small pipeline with its prompts, data, answers, settings and a test in CI."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from batchpipe.providers import DEFAULT_PROVIDER, get_provider_module
from batchpipe.scaffold.address import installed_address
from batchpipe.scaffold.drafts import LARGE_MODEL, SMALL_MODEL, PipelineDraft, draft_files
from batchpipe.scaffold.layout import TomlBlock, document
from batchpipe.scaffold.rows import csv_text

NAME = "feedback"
DATA = f"pipelines/data/{NAME}.csv"
LABELS = {
    "praise": "Says that something is good, and asks for nothing",
    "problem": "Something went wrong or does not work",
    "wish": "Would like something that there is not yet",
    "question": "Wants to know something",
}


@dataclass(frozen=True, slots=True)
class Feedback:
    """A made-up message with its label, and the confidence that the small model gives it on the emulator."""

    message: str
    label: str
    confidence: float = 0.95


FEEDBACK = (
    Feedback("The new jasmine tea is the best that I have had in years.", "praise"),
    Feedback("My parcel was open when it arrived, and one tin was missing.", "problem"),
    Feedback("Do you ship to Norway?", "question"),
    Feedback("Please sell the mint tea in larger bags, I finish one in a week.", "wish"),
    Feedback("Could you tell me how long green tea keeps after opening?", "question"),
    Feedback("Nice cups! But why is there no saucer to go with them?", "wish", 0.55),
    Feedback("Ordered on Monday, drank it on Wednesday. You are quick!", "praise"),
    Feedback("The discount code from your letter is refused at the checkout.", "problem"),
    Feedback("Ein Abo für jeden Monat wäre schön, dann müsste ich nicht daran denken.", "wish"),
    Feedback('The label says "no caffeine", my night said otherwise.', "problem", 0.7),
    Feedback("Which of your teas may a child of six drink?", "question"),
    Feedback("Thank you for the handwritten note in the parcel 🙂", "praise"),
)

GITIGNORE = """\
# Raw results, logs and the emulator's database
.batchpipe/
# The project's database, which is made again; not other databases, which may be input
/batchpipe.duckdb*
# Keys
.env
"""

WORKFLOW = """\
# Checks each pipeline and runs it on the emulator: no key, no cost.
name: batchpipe

on:
  push:
    branches: [main]
  pull_request:

permissions:
  contents: read

jobs:
  emulator:
    runs-on: ubuntu-latest
    timeout-minutes: 15
    env:
      BATCHPIPE_WHEEL: ${{ vars.BATCHPIPE_WHEEL }}
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install {address}
      - run: batchpipe check
      - run: batchpipe run --all --emulator --yes
"""

NEXT_STEPS = f"""\
A project with one pipeline, {NAME}, is ready{{place}}. Try it on the emulator, with no key and no cost:
{{enter}}
  batchpipe plan {NAME} --emulator      what a run would do, and why
  batchpipe try {NAME} --emulator       five rows now: prompt, answer, cost
  batchpipe run {NAME} --emulator       do it
  batchpipe results {NAME} --emulator   the answers

Then make it yours:

  batchpipe new NAME --input FILE       a pipeline on your own CSV, JSON or Parquet file
  batchpipe check                       all that can be known without spending

For real answers set {{key}} (or write it into .env) and leave --emulator out.
"""


def files() -> dict[str, str]:
    """Return the texts of the project's files, by path."""
    draft = PipelineDraft(
        name=NAME,
        description="Sort what customers write to a tea shop",
        task="You sort what customers write to a tea shop.",
        query=f"SELECT feedback_id, message FROM read_csv('{DATA}')",
        key=("feedback_id",),
        columns=("feedback_id", "message"),
        shown=("message",),
        labels=LABELS,
    )
    return {
        "batchpipe.toml": _settings(),
        ".gitignore": GITIGNORE,
        ".github/workflows/batchpipe.yml": WORKFLOW.replace("{address}", installed_address()),
        **draft_files(draft),
        DATA: csv_text(("feedback_id", "message"), enumerate((each.message for each in FEEDBACK), start=1)),
        f"pipelines/data/answers/{NAME}.jsonl": _answers(),
    }


def next_steps(directory: Path) -> str:
    """Return a text that says what to do first in the project at `directory`."""
    here = directory.resolve() == Path.cwd()
    return NEXT_STEPS.format(
        place="" if here else f" in {directory}",
        enter="" if here else f"\n  cd {directory}",
        key=get_provider_module(DEFAULT_PROVIDER).KEY_VARIABLE,
    )


def _settings() -> str:
    comment = (
        "The settings of this project; the folder of this file is the project's root.\n"
        "Options of the command line and BATCHPIPE_* variables override them."
    )
    table = {"database": "batchpipe.duckdb", "confirm_above_usd": 5}
    return document([TomlBlock(comment=comment, table=table)])


def _answers() -> str:
    """Return the small model's answers, then the large model's answers to messages with a low confidence."""
    lines = [_answer(SMALL_MODEL, each, each.confidence) for each in FEEDBACK]
    lines += [_answer(LARGE_MODEL, each, 0.9) for each in FEEDBACK if each.confidence < 0.8]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _answer(model: str, feedback: Feedback, confidence: float) -> dict[str, object]:
    output = {"label": feedback.label, "confidence": confidence}
    return {"model": model, "match": feedback.message, "output": output}
