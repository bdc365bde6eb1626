"""What Markdown shows outside of code."""

from __future__ import annotations

import re


def outside_of_code(markdown: str) -> str:
    """Return the text that Markdown interprets: without fenced blocks and inline code, as CommonMark defines them."""
    left, fence = [], None
    for line in markdown.splitlines():
        found = re.match(r" {0,3}(`{3,})([^`]*)$", line)
        if fence is None and found:
            fence = found[1]
        elif fence is not None:
            if found and len(found[1]) >= len(fence) and not found[2].strip():
                fence = None
        else:
            left.append(line)
    assert fence is None
    return re.sub(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", "", "\n".join(left))
