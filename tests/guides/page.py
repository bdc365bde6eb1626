"""Write the files to copy into the page that shows them: `python tests/guides/page.py`."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "batchpipe" / "docs"
PAGE = DOCS / "guides" / "orchestrators.md"
BLOCK = re.compile(r"(^<!-- file: ([\w.-]+) -->\n```\w+\n)(.*?)(^```$)", re.MULTILINE | re.DOTALL)


def shown(page: str) -> dict[str, str]:
    """Return the text of each file that the page shows."""
    return {name: text for _, name, text, _ in BLOCK.findall(page)}


def written(page: str) -> str:
    """Return the page with each file as it is."""

    def block(found: re.Match[str]) -> str:
        return found[1] + (DOCS / "orchestrators" / found[2]).read_text("utf-8") + found[4]

    return BLOCK.sub(block, page)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
