"""Questions to a bank, each with one of 77 intents: where they lie, and the parts of pipelines that ask for the intent.

The parts are formats: `folder` stands for the folder of the questions.
"""

from __future__ import annotations

import csv

import pytest
from checkout import DATA

FOLDER = DATA / "banking77"
needs_banking = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the data set banking77 in ../shared/data")

PROMPT = """[prompt]
system_text = '''
Say what the customer of a bank wants. The intents:
{{% for intent in fields.intent.enum %}}
- {{{{ intent }}}}
{{%- endfor %}}
'''
user_text = "{{{{ text }}}}"
"""
FIELDS = """[output.fields.intent]
type = "string"
enum = {{ query = "SELECT unnest(content::JSON::VARCHAR[]) FROM read_text('{folder}/categories.json')" }}

[output.fields.confidence]
type = "number"
minimum = 0
maximum = 1
"""

# Its ladder begins with a local rung; `format` puts the folder of the questions in.
LOCAL_PIPELINE = (
    """
[input]
query = "SELECT question_id, text FROM read_csv('rows.csv', header = true)"
key = "question_id"
window = true

[prompt]
system_text = '''
Say what the customer of a bank wants. The intents:
{{% for intent in fields.intent.enum %}}
- {{{{ intent }}}}
{{%- endfor %}}
'''
user_text = "{{{{ text }}}} <{{{{ question_id }}}}>"

[output]

"""
    + FIELDS
    + """
[[models]]
model = "local"
accept = "_confidence >= 0.8"

[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""
)


def questions(name: str, first: int) -> list[tuple[int, str, str]]:
    """Return the questions of a file: number, text, true intent."""
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [(first + place, row["text"], row["category"]) for place, row in enumerate(csv.DictReader(file))]
