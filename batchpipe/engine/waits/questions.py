"""Questions to a person about chunks that the run cannot go on with: what is wrong, and the commands that decide."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass

from batchpipe.engine.ledger.events import OpenBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about one chunk: `what` is wrong, and the `hint` with the commands that decide."""

    what: str
    hint: str


def give_up_hint(name: str) -> str:
    """Return the hint for a chunk that may still come right, and the command that gives it up."""
    return f"The next run looks again. To give it up, so that its rows are due: batchpipe recover {name} --abandon"


def ask_presumed_gone(name: str, batch_id: str) -> Question:
    """Ask about a submit of unknown outcome that may have made a batch whose results are gone."""
    return Question(
        what="the outcome of a submit is not known. It may have made the batch "
        f"{batch_id}, whose results are gone: its rows wait for a decision",
        hint=f"If that batch is yours: batchpipe recover {name} --adopt {shlex.quote(batch_id)}; to send the rows "
        f"again: batchpipe recover {name} --abandon",
    )


def ask_young_gone(name: str, batch: OpenBatch, message: str) -> Question:
    """Ask about a batch whose results are gone although the provider should still keep them."""
    most = f"${batch.max_usd:.4f}" if batch.max_usd is not None else "an unknown amount"
    return Question(
        what=f"the provider no longer has the results of {batch.batch_id}, which it should still keep ({message}). Its "
        f"{batch.requests:,} requests were paid for: they are booked at {most} at most",
        hint="Ask the provider, or look at who deletes batches there. To send the rows again, which is paid for again: "
        f"batchpipe recover {name} --abandon",
    )


def ask_overdue(name: str, batch: OpenBatch) -> Question:
    """Ask about a batch that should have ended more than a day ago."""
    return Question(
        what=f"the batch {batch.batch_id} should have ended more than a day ago, and the provider still does not say "
        "that it has",
        hint=give_up_hint(name),
    )


def ask_unanswered(name: str, batch: OpenBatch, message: str, *, overdue: bool) -> Question:
    """Ask about a batch about which the provider does not answer; `overdue` says that it should have ended long ago."""
    what = f"the provider does not answer when it is asked about {batch.batch_id}: {message}"
    return Question(
        what=what + (". The batch should have ended more than a day ago" if overdue else ""),
        hint=give_up_hint(name) if overdue else "Run the same command again later: nothing is lost.",
    )


def ask_unreadable(name: str, batch: OpenBatch, message: str) -> Question:
    """Ask about a batch whose results cannot be downloaded, or are no results."""
    return Question(what=f"the results of {batch.batch_id} cannot be read: {message}", hint=give_up_hint(name))


def ask_foreign(name: str, batch: OpenBatch) -> Question:
    """Ask about a batch of which no result is one that was asked for."""
    return Question(
        what=f"the results of {batch.batch_id} have only custom ids that were not sent with it", hint=give_up_hint(name)
    )


def ask_unlisted(name: str, message: str) -> Question:
    """Ask about a submit of unknown outcome that no list of batches tells about."""
    return Question(
        what=f"the outcome of a submit is not known, and the list of batches cannot be read whole: {message}",
        hint=f"The next run looks again. If you know the batch: batchpipe recover {name} --adopt BATCH_ID; if none was "
        f"made: batchpipe recover {name} --abandon",
    )


def ask_account(name: str, sent_with: str, now_with: str) -> Question:
    """Ask about a submit of unknown outcome whose batch another account's list cannot show."""
    return Question(
        what=f"the outcome of a submit is not known: it was sent with {sent_with}, and the list of batches is that of "
        f"{now_with}",
        hint=f"Run with a key of that account. If you know the batch: batchpipe recover {name} --adopt BATCH_ID; if "
        f"none was made: batchpipe recover {name} --abandon",
    )


def gate_of(questions: Collection[Question]) -> tuple[str, str]:
    """Return the gate that all `questions` are, and its hint: the first one, and how many more there are."""
    first, *others = questions
    more = f" ({len(others)} more chunks wait for a decision)" if others else ""
    return first.what + more, first.hint
