"""The README's picture shows what the program prints."""

from __future__ import annotations

import html
import re

from terminal_picture import MONEY, PICTURE, picture, printed


def texts(drawn: str) -> list[str]:
    """The lines of a picture; prices differ from price list to price list."""
    found = re.findall(r"<text [^>]*>(.*?)</text>", drawn)
    return [MONEY.sub("MONEY", html.unescape(re.sub(r"<[^>]+>", "", each))) for each in found]


def test_the_picture_is_what_the_program_prints() -> None:
    shown, now = PICTURE.read_text(encoding="utf-8"), picture(printed())
    assert texts(shown) == texts(now), "python tests/terminal_picture.py"
    assert "accepted" in shown
    assert not re.search(r"(?:href|src|url)\W*https?://(?!www\.w3\.org)", shown)
