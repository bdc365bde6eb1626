"""The switches of a seed's pipeline file: keys that a person turns while rows are under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

JUDGED_LABEL = """[eval.fields.label]
compare = "judge"
[eval.fields.label.prompt]
user_text = "Judge <<{{ body }} is {{ answer }}, or {{ expected }}>>"
[[eval.fields.label.models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""
SHOWN = "7 is bug;"
TURNS = f"""turns = "shots"
[prompt.queries]
shots = '''SELECT '{SHOWN}' AS user, '{{"label": "bug", "score": 0.9}}' AS assistant'''
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A place of the file and what may stand there; `as_it_is` stands there at first."""

    place: str
    values: tuple[str, ...]
    as_it_is: str = ""


SWITCHES: Mapping[str, Switch] = {
    "format": Switch(place="output", values=('format = "tool"\n', 'format = "json"\n')),
    "include": Switch(place="output", values=('include = ["body"]\n',)),
    "table": Switch(place="output", values=('table = "labelled"\n',)),
    "key": Switch(place="input", values=('key = ["id", "part"]\n', 'key = ["id", "half"]\n'), as_it_is='key = "id"\n'),
    "window": Switch(place="input", values=("window = true\n",)),
    "cache": Switch(place="prompt", values=('cache = "1h"\n', 'cache = "off"\n')),
    "turns": Switch(place="turns", values=(TURNS,)),
    "labels": Switch(
        place="labels",
        values=(
            "enum = { query = \"SELECT unnest(['billing', 'bug', 'other']) AS label\" }\n",
            'enum = ["other", "billing", "bug"]\n',
        ),
        as_it_is='enum = ["billing", "bug", "other"]\n',
    ),
    "optional": Switch(place="note", values=("optional = true\n",)),
    "when": Switch(place="upper", values=('when = "part = 1"\n', 'when = "length(body) < 30"\n')),
    "quorum": Switch(place="votes", values=("quorum = 1\n", 'vote = ["label", "score"]\n')),
    "group": Switch(place="chunking", values=('group_by = "part"\n', 'group_by = "body"\n', "max_queued = 7\n")),
    "failed": Switch(place="retry", values=("max_failed = 0.5\n", "transient = 1\n")),
    "rerun": Switch(
        place="rerun",
        values=(
            "prompt_changed = false\n",
            "input_changed = false\n",
            "schema_changed = false\n",
            "prompt_changed = \"label = 'bug'\"\n",
        ),
    ),
    "pilot": Switch(place="pilot", values=("auto = true\n", 'meanwhile = "previous"\n', 'stratify = "part"\n')),
    "month": Switch(place="budget", values=("max_usd_per_month = 0.02\n",)),
    "sample": Switch(place="review", values=("sample = 0.5\n", 'sample = 0.5\nby = "doubt"\n')),
    "judge": Switch(place="judge", values=(JUDGED_LABEL,)),
}
