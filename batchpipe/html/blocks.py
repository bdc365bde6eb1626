"""The blocks that pages and reports are made of. A block holds texts and charts; only the templates make HTML of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from batchpipe.charts.chart import Chart


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A text in a table. `href` makes a link of it, `state` puts a dot of that colour before it.

    `below` stands under it. `tone` is good, bad or soft. `chart` stands in place of the text. `pill` makes a
    button of a link.
    """

    text: str
    href: str | None = None
    state: str = ""
    below: str = ""
    tone: str = ""
    chart: Chart | None = None
    pill: bool = False
    strong: bool = False
    code: bool = False


Text: TypeAlias = str | Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A large figure with words below it; `good` are words in the colour of what is good."""

    value: str
    words: str
    good: str = ""
    href: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Large figures in a row."""

    kind: ClassVar[str] = "figures"
    found: Sequence[Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; `right` are its columns of numbers. `title` is read out, `empty` stands there where no row is."""

    kind: ClassVar[str] = "table"
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Text]]
    right: Sequence[int] = ()
    empty: str = "nothing yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A chart, with the table of its numbers folded below it, and a note."""

    kind: ClassVar[str] = "picture"
    chart: Chart
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    """The names of colours."""

    kind: ClassVar[str] = "legend"
    found: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Names with their values."""

    kind: ClassVar[str] = "pairs"
    found: Sequence[tuple[str, Text]]
    long: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentences:
    """Sentences: as a list where `listed`, else each on its own line."""

    kind: ClassVar[str] = "sentences"
    found: Sequence[str]
    listed: bool = False
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command to copy, with what it does."""

    kind: ClassVar[str] = "command"
    words: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """The title of the blocks that follow it in a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeBlock:
    """A text as it is: a prompt, an answer."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """A unified diff, with its lines in colours."""

    kind: ClassVar[str] = "diff"
    text: str

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Return each line with its kind: place, old, new, or nothing."""
        return [(_kind(each), each) for each in self.text.split("\n")]


@dataclass(frozen=True, slots=True, kw_only=True)
class RungBlock:
    """A rung of the ladder: its number and model, the condition, the bar of its answers, words, and its cost."""

    number: str
    model: str
    condition: str
    chart: Chart
    words: str
    cost: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rungs:
    """The rungs of a ladder, one below the other."""

    kind: ClassVar[str] = "rungs"
    found: Sequence[RungBlock]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that happened: a title with words beside it, when, and the blocks of it."""

    title: str
    words: str
    at: str
    colour: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What happened, oldest first."""

    kind: ClassVar[str] = "timeline"
    found: Sequence[Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Blocks that are folded away under a title."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: Sequence[Block]
    open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chips:
    """Links that choose what is shown; `chosen` ones are marked."""

    kind: ClassVar[str] = "chips"
    found: Sequence[tuple[Cell, bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A form with one field, which changes only what the page shows."""

    kind: ClassVar[str] = "search"
    action: str
    label: str
    name: str
    value: str
    hint: str
    kept: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A list to choose from: the words before it, its name in the query string, the value, and all values.

    `none` are the words for no value; where they are empty, a value is always chosen.
    """

    label: str
    name: str
    value: str
    values: Sequence[str]
    none: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """A form of lists to choose from, which changes only what the page shows. `kept` goes with it as it is."""

    kind: ClassVar[str] = "choices"
    action: str
    found: Sequence[Choice] = ()
    kept: Sequence[tuple[str, str]] = ()
    button: str = "Show"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A button whose dialog repeats what is about to be done, and asks; only then it is posted to `action`."""

    kind: ClassVar[str] = "ask"
    action: str
    button: str
    title: str
    figures: Sequence[tuple[str, str]]
    confirm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pager:
    """Links to the page before and the page after."""

    kind: ClassVar[str] = "pager"
    words: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of a row: what is known of it in words, and where its picture is; None where none is shown."""

    words: str
    sha256: str
    source: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files of a row, with their pictures."""

    kind: ClassVar[str] = "files"
    found: Sequence[File]


Block: TypeAlias = (
    Figures
    | Files
    | Table
    | Picture
    | Legend
    | Pairs
    | Sentences
    | Command
    | Heading
    | CodeBlock
    | Diff
    | Rungs
    | Timeline
    | Fold
    | Chips
    | Search
    | Choices
    | Ask
    | Pager
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page. Two `half` sections stand side by side where there is room; `bare` has no frame.

    `later` is the URL that the section is fetched from once the page is shown.
    """

    title: str = ""
    blocks: Sequence[Block] = ()
    half: bool = False
    bare: bool = False
    later: str | None = None


def _kind(line: str) -> str:
    if line.startswith(("---", "+++", "@@")):
        return "place"
    return {"-": "old", "+": "new"}.get(line[:1], "")
