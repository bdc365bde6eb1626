"""What a streamed answer is in every protocol, however its bytes come: over a transport that sends them."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchpipe.providers import UnavailableError

from .protocols import Spoken
from .streamed import MADE, PLAIN, Line, written


def test_a_streamed_text_is_the_one_that_was_sent(spoken: Spoken, tmp_path: Path) -> None:
    """Other line breaks in a text, a mark at the beginning, CRLF, data of several lines, a wrong character set."""
    texts = ["Grüße \u2028 a\x85b\x0b\u2029", "\x1c and 😀", " end"]
    events = MADE[spoken.name](texts)
    bodies = (
        (written(events), PLAIN),
        (b"\xef\xbb\xbf" + written(events), PLAIN),
        (written(events, breaks=b"\r\n", indent=1), PLAIN),
        (written(events, breaks=b"\r"), PLAIN),
        (written(events), "text/event-stream; charset=latin-1"),
        (written(events, escaped=True), "application/json"),
        (b": hello\n\ndata: ping\n\n" + written(events), PLAIN),
    )
    for body, kind in bodies:
        for size in (1, 10_000):
            row = Line(spoken).row(body, tmp_path, kind=kind, size=size)
            assert (row["answer"], row["outcome"], row["output_tokens"]) == ("".join(texts), "answered", 9)


def test_halves_of_a_character_that_come_apart_are_one(spoken: Spoken, tmp_path: Path) -> None:
    row = Line(spoken).row(written(MADE[spoken.name](["a\ud83d", "\ude00b\ud83d"]), escaped=True), tmp_path)
    assert (row["answer"], row["outcome"]) == ("a😀b\ufffd", "answered")


def test_a_piece_that_cannot_be_read_is_no_hole_in_an_answer(spoken: Spoken, tmp_path: Path) -> None:
    """Where the end of a stream has the whole answer, a damaged piece before it is no loss."""
    body = written(MADE[spoken.name](["one ", "two ", "three"]))
    damaged = body.replace(b'two "', b"two ", 1)
    assert damaged != body
    if spoken.name == "openai":
        assert Line(spoken).row(damaged, tmp_path)["answer"] == "one two three"
        return
    with pytest.raises(UnavailableError) as broken:
        Line(spoken).row(damaged, tmp_path)
    assert broken.value.status is None
