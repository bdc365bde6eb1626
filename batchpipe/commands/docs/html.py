"""The pages as a folder of HTML: plain files that open from disk, without scripts and without anything from outside."""

from __future__ import annotations

import html
import itertools
import re
from pathlib import Path

from batchpipe.commands.docs.pages import FOLDER, DocsPage, pages_by_kind, read_pages
from batchpipe.common.durable import written_whole
from batchpipe.common.errors import UsageError

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --paper: #ffffff; --line: #e0e1e6; --code: #f4f5f7;
  --link: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a0a4ab; --paper: #16181c; --line: #2e3238;
  --code: #1f2227; --link: #7ab8ff; } }
body { margin: 0; font: 16px/1.6 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
.frame { display: grid; grid-template-columns: 15rem minmax(0, 46rem); gap: 3rem; max-width: 66rem; margin: 0 auto;
  padding: 2rem 1.5rem; }
nav { font-size: 0.9rem; }
nav h2 { font-size: 0.8rem; margin: 1.2rem 0 0.3rem; color: var(--soft); font-weight: 600; }
nav ul { list-style: none; margin: 0; padding: 0; }
nav li { padding: 0.1rem 0; }
nav a[aria-current] { color: var(--ink); font-weight: 600; text-decoration: none; }
a { color: var(--link); }
h1 { font-size: 1.9rem; line-height: 1.2; margin-top: 0; }
h2 { font-size: 1.3rem; margin-top: 2rem; }
code { font: 0.88em/1.5 ui-monospace, monospace; background: var(--code); padding: 0.1em 0.3em; border-radius: 4px; }
pre { background: var(--code); padding: 0.9rem 1rem; border-radius: 8px; overflow-x: auto; }
pre code { padding: 0; background: none; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: 0.92rem; }
th, td { text-align: left; vertical-align: top; padding: 0.4rem 0.8rem 0.4rem 0; border-bottom: 1px solid var(--line); }
img { max-width: 100%; }
@media (max-width: 50rem) { .frame { grid-template-columns: minmax(0, 1fr); gap: 2rem; } nav { order: 1; } }
"""
FOR_PROGRAMS = ("llms.txt", "SKILL.md")
LINK = re.compile(r'(href=")((?!https?:|#)[^"#]+)\.md(#[^"]*)?"')
COMMENT = re.compile(r"^<!-- .*? -->\n", re.MULTILINE)


def write_site(folder: Path) -> list[Path]:
    """Write every page into `folder` as HTML and as Markdown, `index.html` first; return the paths.

    Programs read the Markdown, by the list in `llms.txt`.

    Raises UsageError where `folder` holds files that are none of ours, and where they cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "llms.txt").is_file():
        hint = "Name a folder that does not exist yet: batchpipe docs --html DIR"
        raise UsageError(f"{folder} holds other files", where="--html", hint=hint)
    try:
        return _written(folder)
    except OSError as error:
        what = f"the pages cannot be written: {error.strerror}"
        hint = "See that the folder can be written and has room, then give the same command again."
        raise UsageError(what, where=str(folder), hint=hint) from error


def _written(folder: Path) -> list[Path]:
    """Write the pages. The file that says whose the folder is comes first, so that what broke off is written again."""
    own = [
        _write(folder / each, FOLDER.joinpath(each).read_text(encoding="utf-8")) for each in ("llms.txt", "SKILL.md")
    ]
    pages = read_pages()
    written = [_write(folder / "index.html", _page_html(pages[0], "", "start/"))]
    for page in pages:
        written.append(_write(folder / f"{page.topic}.html", _page_html(page, "../", "")))
        written.append(_write(folder / f"{page.topic}.md", page.text))
    written += own
    for picture in FOLDER.joinpath("pictures").iterdir():
        written.append(_write(folder / "pictures" / picture.name, picture.read_text(encoding="utf-8")))
    return written


def anchor(heading: str) -> str:
    """Return the id of a heading, as links name it: `totals-you-may-publish` for `Totals you may publish`."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return path


def _page_html(page: DocsPage, up: str, beside: str) -> str:
    """Return a page as one HTML document. `up` leads from its folder to the site's, `beside` to the page's own."""
    title = html.escape(page.title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title} - batchpipe</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n'
        f'<body>\n<div class="frame">\n<nav>{_navigation(page, up)}</nav>\n<main>\n{_body(page, beside)}</main>\n'
        "</div>\n</body>\n</html>\n"
    )


def _navigation(page: DocsPage, up: str) -> str:
    parts = [f'<a href="{up}index.html"><strong>batchpipe</strong></a>']
    for title, pages in pages_by_kind():
        parts.append(f"<h2>{title}</h2>\n<ul>")
        for each in pages:
            here = ' aria-current="page"' if each.topic == page.topic else ""
            parts.append(f'<li><a href="{up}{each.topic}.html"{here}>{html.escape(each.title)}</a></li>')
        parts.append("</ul>")
    return "\n".join(parts)


def _body(page: DocsPage, beside: str) -> str:
    """Return the Markdown of a page as HTML: text is escaped, links between pages lead to the HTML files."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(COMMENT.sub("", page.text))
    for opening, title in itertools.pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor(title.content))
    rendered = parser.renderer.render(tokens, parser.options, {})
    return LINK.sub(lambda found: f'{found[1]}{beside}{found[2]}.html{found[3] or ""}"', rendered)
