"""`batchpipe docs`: list the pages, show one, or write all of them as HTML."""

from __future__ import annotations

from batchpipe.commands.call.call import Talk
from batchpipe.commands.docs.html import write_site
from batchpipe.commands.docs.pages import DocsPage, find_page, pages_by_kind, read_pages
from batchpipe.common.given import home_path

WIDEST = 100


def docs(talk: Talk, topic: str | None, html: str | None) -> int:
    """Show the page `topic`, or the list of pages; with `html` write all pages into that folder.

    Raises UsageError for a page that does not exist, and for a folder that holds other files.
    """
    if html is not None:
        written = write_site(home_path(html, "--html").resolve())
        talk.out({"files": [str(each) for each in written]} if talk.json else str(written[0]))
        talk.say(f"{len(written)} files are written; open {written[0]} in a browser")
        return 0
    if topic is not None:
        page = find_page(topic)
        talk.out({"topic": page.topic, "title": page.title, "text": page.text} if talk.json else _shown(talk, page))
        return 0
    if talk.json:
        talk.out([{"topic": each.topic, "title": each.title, "summary": each.summary} for each in read_pages()])
        return 0
    talk.out(_list())
    return 0


def _list() -> str:
    width = max(len(each.topic) for each in read_pages())
    lines = []
    for title, pages in pages_by_kind():
        lines += ["", title, *(f"  {each.topic:{width}}  {each.title}" for each in pages)]
    return "\n".join([*lines[1:], "", "To read a page: batchpipe docs TOPIC; as HTML: batchpipe docs --html DIR"])


def _shown(talk: Talk, page: DocsPage) -> str:
    """Return the page as a terminal shows it; without a terminal its Markdown as it stands."""
    if not talk.terminal:
        return page.text.rstrip("\n")
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(width=None, force_terminal=True)
    width = min(console.width, WIDEST)
    with console.capture() as captured:
        console.print(Markdown(page.text, hyperlinks=False), width=width)
    return captured.get().rstrip("\n")
