"""Links between the pages of a project. A report of one file has none: then every link is None."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The links of a served page where `served`; else none."""

    served: bool = False

    def page(self, pipeline: str, page: str = "", **query: str | int | None) -> str | None:
        """Return the link to a page of a pipeline: its overview, or that called `page`."""
        if not self.served:
            return None
        return address(f"/p/{quote(pipeline, safe='')}" + (f"/{page}" if page else ""), query)

    def row(self, pipeline: str, key: Sequence[str]) -> str | None:
        """Return the link to the story of a row."""
        return self.page(pipeline, f"row/{key_part(key)}")

    def run(self, pipeline: str, run_id: str) -> str | None:
        """Return the link to a run."""
        return self.page(pipeline, f"runs/{quote(run_id, safe='')}")


NO_LINKS = Links()
SERVED = Links(served=True)


def key_part(key: Sequence[str]) -> str:
    """Return a key as a part of a path: the text of a single column, else a JSON list; percent-encoded.

    A text that a path cannot hold is a JSON list too: browsers take dots for folders, and `.json` names other content.
    """
    plain = len(key) == 1 and key[0] not in ("", ".", "..") and "\n" not in key[0] and not key[0].endswith(".json")
    text = key[0] if plain else json.dumps(list(key), ensure_ascii=False)
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def address(path: str, query: Mapping[str, str | int | None]) -> str:
    """Return a path with a query string of the values that are not empty."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return path + (f"?{urlencode(given)}" if given else "")
