"""The list of batches, read page after page: what is on it, and whether all of it was read and understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from batchpipe.providers import BatchList, BatchState, NoListError, NotSentError, RefusedError, UnavailableError
from batchpipe.providers.shared.http import NotUnderstoodError
from batchpipe.providers.shared.values import AccountWords, batch_id

# A list of more pages has no end.
MOST_PAGES = 10_000
NO_PAGE = "the list of batches cannot be read: the answer is no page of a list"


class ListPage(NamedTuple):
    """Holds the batches of one page, what the next page is asked for by ("": there is none), whether all of the page
    was understood, and the headers of the reply.
    """

    states: Sequence[BatchState]
    following: str
    understood: bool
    headers: Mapping[str, str]


def read_list(
    read: Callable[[str], ListPage],
    enough: Callable[[Sequence[BatchState]], bool],
    account: Callable[[Mapping[str, str]], AccountWords],
    *,
    has_empty_pages: bool = False,
) -> BatchList:
    """Return the batches of the list, page after page, until `enough` holds for those read so far.

    `read` returns the page that its argument asks for; `account` what headers say of the account. A list that repeats
    itself, or that has no end, is not whole. `has_empty_pages`: pages before the last one may hold no batch.
    Raises the errors of `read` for the first page.
    """
    found: dict[str, BatchState] = {}
    headers: Mapping[str, str] = {}
    asked: set[str] = set()
    whole, following = True, ""
    for number in range(MOST_PAGES):
        try:
            page = read(following)
        except (UnavailableError, NotSentError, RefusedError):
            if not number:
                raise
            break
        headers, following = headers or page.headers, page.following
        fresh = [each for each in page.states if each.batch_id not in found]
        found |= {each.batch_id: each for each in fresh}
        whole = whole and page.understood
        if not following or enough(list(found.values())):
            return BatchList(states=list(found.values()), whole=whole and not following, **account(headers))
        if following in asked or (not fresh and not (has_empty_pages and not page.states)):
            break
        asked.add(following)
    return BatchList(states=list(found.values()), whole=False, **account(headers))


def page_by_last_id(body: Any, headers: Mapping[str, str], state_of: Callable[[Any], BatchState]) -> ListPage:
    """Return the page of a list that is asked on by the id of its last batch (`data`, `has_more`, `last_id`).

    `state_of` reads a batch; it raises NotUnderstoodError. Raises NoListError for what is no page.
    """
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        raise NoListError(NO_PAGE)
    states = states_of(data, state_of)
    more = body.get("has_more")
    following = batch_id(body.get("last_id")) or (states[-1].batch_id if states else "")
    understood = len(states) == len(data) and isinstance(more, bool)
    return ListPage(states, following if more is True else "", understood, headers)


def states_of(listed: Sequence[Any], state_of: Callable[[Any], BatchState]) -> list[BatchState]:
    """Return those of the listed batches that `state_of` understands."""
    found = []
    for each in listed:
        with suppress(NotUnderstoodError):
            found.append(state_of(each))
    return found
