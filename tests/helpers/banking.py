"""Questions to a bank, each with one of 77 intents: where they lie, and the parts of pipelines that ask for the intent.

The parts are formats: `folder` stands for the folder of the questions.
"""

from __future__ import annotations

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
