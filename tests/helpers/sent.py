"""What was sent."""

from __future__ import annotations

from projects import Project


def keys_sent(project: Project) -> list[str]:
    return [key for (key,) in project.sql("SELECT key FROM ledger.requests WHERE leads AND send > 0 ORDER BY seq, key")]
