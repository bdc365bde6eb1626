"""Keep the state that goes from one batch or call to the next."""

import sqlite3
from dataclasses import dataclass

from batchpipe.emulator.answering.outcomes import Outcomes
from batchpipe.emulator.answering.promptcache import PromptCache
from batchpipe.emulator.service.faults import Rules
from batchpipe.emulator.service.store import Store


@dataclass
class CarriedState:
    """How often each rule applied, and what the prompt cache holds."""

    outcomes: Outcomes
    cache: PromptCache

    def save(self, connection: sqlite3.Connection) -> None:
        """Save the state, in the transaction that records the end of the work. Otherwise a kill could make it count
        twice.
        """
        connection.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?)", list(self.outcomes.changed.items()))
        connection.executemany("INSERT OR REPLACE INTO prompt_cache VALUES (?, ?)", list(self.cache.written.items()))


def carried_state(store: Store, rules: Rules) -> CarriedState:
    """Return the state as earlier batches and calls left it."""
    counters = {str(name): int(seen) for name, seen in store.query("SELECT * FROM counters")}
    now = store.now()
    entries = {
        str(prefix): float(expires_at)
        for prefix, expires_at in store.query("SELECT * FROM prompt_cache WHERE expires_at > ?", (now,))
    }
    return CarriedState(Outcomes(rules.requests, counters), PromptCache(entries, now, rules.cache_hits))
