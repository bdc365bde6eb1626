"""The rules in force, which any process may have set, and which fault is due for a call."""

from hashlib import md5

from batchpipe.emulator.service.faults import CallRule, Rules, parse_rules
from batchpipe.emulator.service.store import Store


class Rulebook:
    """The rules of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rules = Rules()

    def rules(self) -> Rules:
        """Return the rules in force."""
        text = self._store.setting("rules")
        if text is None:
            return self._rules if not self._rules.key else Rules()
        if md5(text.encode()).hexdigest() != self._rules.key:
            self._rules = parse_rules(text.encode(), "faults")
        return self._rules

    def use_rules(self, text: bytes, *, keep_counts: bool) -> None:
        """Put rules in force and reset their counts. With `keep_counts` rules that are in force already keep theirs."""
        known = self._store.setting("rules")
        if keep_counts and known is not None and known.encode() == text:
            return
        with self._store.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES ('rules', ?)", (text.decode(),))
            connection.execute("DELETE FROM counters")

    def due_fault(self, protocol: str, call: str, rules: Rules) -> CallRule | None:
        """Return the first rule that is due for a call of a protocol. Every rule for this kind of call counts it."""
        due: CallRule | None = None
        places = [
            place for place, rule in enumerate(rules.calls) if rule.call == call and rule.protocol in (None, protocol)
        ]
        if not places:
            return None
        with self._store.transaction() as connection:
            for place in places:
                name = f"call:{place}"
                row = connection.execute("SELECT seen FROM counters WHERE name = ?", (name,)).fetchone()
                seen = int(row[0]) if row else 0
                rule = rules.calls[place]
                if rule.after <= seen < rule.after + rule.times and due is not None:
                    continue
                connection.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, seen + 1))
                if rule.after <= seen < rule.after + rule.times:
                    due = rule
        return due
