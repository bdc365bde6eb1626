"""Tell accounts apart: the one that an intent was made with, and the one whose list of batches a reply shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.engine.ledger.events import OpenBatch
from batchpipe.store.database import Session
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Says with which key a chunk was to be sent, and what replies to this key had named.

    `clock_offset_seconds`: how far the provider's clock was ahead of ours; None where it was not known.
    """

    base_url: str
    key_hash: str
    organization: str | None
    workspace: str | None
    clock_offset_seconds: float | None = None

    @property
    def is_named(self) -> bool:
        """Return whether any reply named the account."""
        return self.organization is not None or self.workspace is not None

    def __str__(self) -> str:
        if self.is_named:
            return f"a key of workspace {self.workspace or 'unknown'}, organisation {self.organization or 'unknown'}"
        return f"the key {self.key_hash} at {self.base_url}"

    def is_account_of(self, other: Intent) -> bool:
        """Return whether both are one account: as replies named it, or by key and base URL where they did not.

        A list is that of a workspace, of which an organisation has several: its name alone is not enough.
        """
        pairs = [(self.organization, other.organization), (self.workspace, other.workspace)]
        if any(mine != theirs for mine, theirs in pairs if mine is not None and theirs is not None):
            return False
        if self.workspace is not None and other.workspace is not None:
            return True
        return (self.base_url, self.key_hash) == (other.base_url, other.key_hash)


NamedAccounts = Mapping[tuple[str, str], tuple[str | None, str | None]]


def read_named_accounts(session: Session) -> NamedAccounts:
    """Return organisation and workspace as replies named them last, by base URL and key hash.

    Reads `ledger.batches`, `ledger.events`.
    """
    return {
        (url, key): (organization, workspace)
        for url, key, organization, workspace in session.rows(query("named_accounts"))
    }


def read_intents(session: Session, chunks: Sequence[OpenBatch], named: NamedAccounts) -> dict[str, Intent]:
    """Return the intents of `chunks` by chunk id. What an intent does not name, other replies to its key may have.

    Reads `ledger.events`.
    """
    rows = session.rows(query("intents"), {"chunk_ids": [each.chunk_id for each in chunks]})
    return {chunk_id: _intent(json.loads(data), named) for chunk_id, data in rows}


def _intent(data: Mapping[str, Any], named: NamedAccounts) -> Intent:
    key = (data["base_url"], data["key_hash"])
    organization, workspace = data.get("organization"), data.get("workspace")
    if organization is None and workspace is None:
        organization, workspace = named.get(key, (None, None))
    return Intent(
        base_url=key[0],
        key_hash=key[1],
        organization=organization,
        workspace=workspace,
        clock_offset_seconds=data.get("clock_offset_seconds"),
    )
