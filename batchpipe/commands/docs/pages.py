"""The pages of the documentation: where they are, what they are called, and how a name finds one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from batchpipe.common.errors import UsageError
from batchpipe.common.likeness import nearest_names

KINDS = ("start", "guides", "concepts", "reference")
FOLDER = resources.files("batchpipe").joinpath("docs")


@dataclass(frozen=True, slots=True, kw_only=True)
class DocsPage:
    """One page: `topic` is its path without the ending, such as `guides/review`; `text` is Markdown."""

    topic: str
    text: str

    @property
    def name(self) -> str:
        """Return the last part of the topic."""
        return self.topic.rpartition("/")[2]

    @property
    def title(self) -> str:
        """Return the first heading."""
        return self.text.partition("\n")[0].removeprefix("# ")

    @property
    def summary(self) -> str:
        """Return the first sentence below the heading."""
        paragraphs = self.text.partition("\n")[2].split("\n\n")
        first = next((" ".join(each.split()) for each in paragraphs if each.strip() and not each.startswith("<")), "")
        return first.partition(". ")[0].rstrip(".") + "."


@cache
def read_pages() -> Sequence[DocsPage]:
    """Return every page, kind by kind, in the order of their names; those to start with stand first."""
    found = []
    for kind in KINDS:
        files = [each for each in FOLDER.joinpath(kind).iterdir() if each.name.endswith(".md")]
        for file in sorted(files, key=lambda each: (each.name != "first_run.md", each.name)):
            topic = f"{kind}/{file.name.removesuffix('.md')}"
            found.append(DocsPage(topic=topic, text=file.read_text(encoding="utf-8")))
    return found


def pages_by_kind() -> list[tuple[str, list[DocsPage]]]:
    """Return the title of each kind with the pages of that kind."""
    return [(kind.capitalize(), [each for each in read_pages() if each.topic.startswith(f"{kind}/")]) for kind in KINDS]


def find_page(name: str) -> DocsPage:
    """Return the page that `name` means: its topic, its last part, or words of its title.

    Raises UsageError with the nearest names where no page or more than one is meant.
    """
    wanted = name.strip().lower().removesuffix(".md").replace("-", "_").replace(" ", "_")
    pages = read_pages()
    for same in (
        [each for each in pages if wanted in (each.topic, each.name)],
        [each for each in pages if wanted and _has_words(each.topic, wanted)],
        [each for each in pages if wanted and _has_words(each.title.lower(), wanted)],
    ):
        if len(same) == 1:
            return same[0]
        if same:
            what = f"{name!r} is in the name of several pages"
            raise UsageError(what, where="TOPIC", hint=_named(each.topic for each in same))
    names = {key: each.topic for each in pages for key in (each.topic, each.name, each.title.lower())}
    near = nearest_names(wanted, names, 3, 0.5)
    hint = _named(dict.fromkeys(names[each] for each in near)) if near else "To see all pages: batchpipe docs"
    raise UsageError(f"there is no page {name!r}", where="TOPIC", hint=hint)


def _has_words(text: str, wanted: str) -> bool:
    """Return whether the words of `wanted` are in `text`, from the beginning of a word on."""
    return f" {wanted.replace('_', ' ')}" in f" {text.replace('_', ' ').replace('/', ' ')}"


def _named(topics: Iterable[str]) -> str:
    return "Type one of: " + ", ".join(f"batchpipe docs {each}" for each in topics)
