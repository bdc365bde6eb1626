"""The rungs that `eval --tune` prints can be pasted: they are read back with all their keys."""

from __future__ import annotations

import tomllib
from typing import Any

from local_project import PIPELINE

from batchpipe.commands.eval.to_paste import rungs_toml
from batchpipe.commands.eval.value_claims import ladder_accepts
from batchpipe.evaluation.claims import Claim
from batchpipe.evaluation.ladder_cost import ThresholdLadder
from batchpipe.pipeline.load import parse
from batchpipe.pipeline.model import Pipeline

RUNGS = """
[[models]]
model = "claude-haiku-4-5"
temperature = 0.5
accept = "confidence >= 0.8"
max_tokens = 200
thinking = { type = "enabled", budget_tokens = 1024 }
stop_sequences = ["[end]", "it's"]

[[models]]
panel = ["claude-haiku-4-5", { model = "claude-sonnet-4-6", temperature = 0.2 }]
max_tokens = 300
vote = ["label"]
accept = "_agreement >= 1"

[[models]]
model = "claude-opus-4-8"
max_tokens = 400
mode = "realtime"
"""


def ladder(text: str) -> tuple[Pipeline, list[dict[str, Any]]]:
    """Return the pipeline of a file, and its rungs as TOML has them."""
    return parse(text, name="triage"), tomllib.loads(text)["models"]


def test_every_key_of_a_rung_is_printed_with_the_new_accept() -> None:
    pipeline, written = ladder(PIPELINE[: PIPELINE.index("[[models]]")] + RUNGS)
    accept = "CASE WHEN label = 'it''s \"so\"' THEN true ELSE confidence >= 0.7 END"
    printed = rungs_toml(pipeline, {1: accept, 2: "_agreement >= 0.5", 3: None}, False, None)
    found = tomllib.loads(printed)["models"]
    assert found[0] == written[0] | {"accept": accept}
    assert found[1] == written[1] | {"accept": "_agreement >= 0.5"}
    assert found[2] == written[2]
    less = rungs_toml(pipeline, {1: accept, 3: None}, False, None)
    assert tomllib.loads(less)["models"] == [found[0], found[2]]
    assert less.count("# leave out: panel = ") == 1
    ladder(PIPELINE[: PIPELINE.index("[[models]]")] + printed)


def test_the_local_rung_keeps_its_keys_and_its_promise() -> None:
    pipeline, written = ladder(PIPELINE.replace("audit = 0.1", 'audit = 0.1\ncolumns = ["body"]'))
    printed = rungs_toml(pipeline, {1: "_confidence >= 0.7", 2: None}, True, 0.9)
    found = tomllib.loads(printed)["models"]
    assert found == [written[0] | {"accept": "_confidence >= 0.7", "target": 0.9}, written[1]]
    assert rungs_toml(pipeline, {2: None}, True, 0.9).startswith('# leave out: model = "local"')


def test_a_field_with_the_name_of_a_word_of_sql_is_quoted() -> None:
    for name, expected in (("label", "label"), ("group", '"group"'), ("Größe", '"Größe"'), ("odd name", '"odd name"')):
        claim = Claim(kind="recall", field=name, value="it's", target=0.9)
        found = ladder_accepts(ThresholdLadder(rungs=(1,), accepts=(0.5,), for_values=(None,)), [claim], ["sure"], [])
        assert found == {1: f"CASE WHEN {expected} = 'it''s' THEN true ELSE sure >= 0.5 END"}
