"""The Python examples of the docs, as a script and in a real notebook."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbclient
import nbformat

import batchpipe

PACKAGE = Path(batchpipe.__file__).parent
PAGE = PACKAGE / "docs" / "guides" / "python.md"
CHECKOUT = PACKAGE.parent


def examples(tmp_path: Path) -> list[str]:
    """The examples of the page, and the project that they work in."""
    for name in ("pipelines", "prompts"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)
    (tmp_path / "batchpipe.toml").touch()
    found = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(found) == 3
    return found


def test_the_examples_run_as_a_script_and_in_a_notebook(tmp_path: Path) -> None:
    """A notebook has an event loop that runs, shows a run in its cell, and values as tables."""
    blocks = examples(tmp_path)
    script = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert script.returncode == 0, script.stderr
    assert "done" in script.stdout
    v4: Any = nbformat.v4
    notebook = v4.new_notebook()
    loop = "import asyncio; asyncio.get_running_loop().is_running()"
    sources = [*blocks, "plan", loop, "await project.run_async(['ticket_triage'])"]
    notebook.cells = [v4.new_code_cell(each) for each in sources]
    nbclient.NotebookClient(notebook, timeout=90, resources={"metadata": {"path": str(tmp_path)}}).execute()
    second, several, plan, looped, result = notebook.cells[1:]
    assert any("<pre>" in str(each.get("data", {}).get("text/html")) for each in second.outputs)
    assert "meeting_digests done" in "".join(each.get("text", "") for each in several.outputs)
    assert "<table>" in plan.outputs[0]["data"]["text/html"]
    assert looped.outputs[0]["data"]["text/plain"] == "True"
    assert "<table>" in result.outputs[-1]["data"]["text/html"]
