"""What is known of a picture or a document of a row: one line of text that stands in the snapshot of the input.

A line is `TYPE SHA256`, a tab, and `BYTES WIDTH HEIGHT PAGES`; or `url` and what tells the address from others; or `!`
and what is wrong. Only what stands before the tab is part of an input hash. A list has a line for each item.
"""

from __future__ import annotations

from typing import NamedTuple

# What the name of a column of contents ends with: the column `photo` has its contents in `photo (content)`.
SUFFIX = " (content)"
URL, WRONG = "url ", "!"


class Content(NamedTuple):
    """The content of a file. Sizes are 0 where they are not known. `problem` is why it cannot be sent."""

    type: str = ""
    sha256: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    pages: int = 0
    address: str = ""
    problem: str = ""

    @property
    def line(self) -> str:
        """Return the content as it stands in the snapshot."""
        if self.problem:
            return f"{WRONG}{self.problem}"
        if self.address:
            return f"{URL}{self.address}"
        return f"{self.type} {self.sha256}\t{self.bytes} {self.width} {self.height} {self.pages}"


def content_name(column: str) -> str:
    """Return the name of the column that has the contents of `column`."""
    return column + SUFFIX


def bare_lines(lines: str) -> str:
    """Return lines of the snapshot as the ledger has them: without sizes."""
    return "\n".join(each.partition("\t")[0] for each in lines.split("\n"))


def read_line(line: str) -> Content:
    """Return the content that a line of the snapshot says, or of the ledger, which has no sizes."""
    if line.startswith(WRONG):
        return Content(problem=line[len(WRONG) :])
    if line.startswith(URL):
        return Content(address=line[len(URL) :])
    known, _, sizes = line.partition("\t")
    kind, _, sha256 = known.partition(" ")
    count, width, height, pages = map(int, (sizes or "0 0 0 0").split(" "))
    return Content(type=kind, sha256=sha256, bytes=count, width=width, height=height, pages=pages)
