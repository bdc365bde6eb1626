"""What the provider does wrong in one step: faults of its calls, and how long its batches take."""

from __future__ import annotations

import random
from typing import Any

HOUR_SECONDS = 3_600.0

CREATE: tuple[dict[str, Any], ...] = (
    {"fault": "accepted_then_reset"},
    {"fault": "accepted_then_status:500"},
    {"fault": "accepted_then_status:529"},
    {"fault": "accepted_then_status:408"},
    {"fault": "accepted_then_empty"},
    {"fault": "accepted_then_html"},
    {"fault": "accepted_late", "seconds": 900},
    {"fault": "landed_later", "seconds": 60},
    {"fault": "landed_later", "seconds": 200, "answer": "reset"},
    {"fault": "reset"},
    {"fault": "status:500"},
    {"fault": "status_html:503"},
    {"fault": "status:429", "retry_after": 90},
    {"fault": "status:429"},
)
RETRIEVE: tuple[dict[str, Any], ...] = (
    {"fault": "status:404", "times": 2},
    {"fault": "status:500"},
    {"fault": "reset"},
    {"fault": "html"},
    {"fault": "empty"},
    {"fault": "status:429", "retry_after": 30},
    {"fault": "results_url_other_host", "times": 50},
)
LIST: tuple[dict[str, Any], ...] = (
    {"fault": "list_lag", "seconds": 120, "times": 1000},
    {"fault": "status:500"},
    {"fault": "reset"},
    {"fault": "html"},
    {"fault": "empty"},
)
RESULTS: tuple[dict[str, Any], ...] = (
    {"fault": "results_cut_line_end"},
    {"fault": "results_cut_mid_line"},
    {"fault": "results_cut_length"},
    {"fault": "results_cut_chunk"},
    {"fault": "doubled_line"},
    {"fault": "doubled_line", "times": 3},
    {"fault": "foreign_line"},
    {"fault": "foreign_line", "times": 3},
    {"fault": "missing_line"},
    {"fault": "blank_line"},
    {"fault": "bad_json_line"},
    {"fault": "status:404"},
    {"fault": "html"},
    {"fault": "empty"},
    {"fault": "reset", "times": 2},
)
OF_CALL = {"create": CREATE, "retrieve": RETRIEVE, "list": LIST, "results": RESULTS}


def drawn_faults(chance: random.Random) -> list[dict[str, Any]]:
    """Return the faults of one step: none in every second step, else one to four."""
    if chance.random() < 0.5:
        return []
    found = []
    for _ in range(chance.randint(1, 4)):
        call = chance.choice(("create", "create", "retrieve", "list", "results", "results"))
        found.append({"call": call, "after": chance.choice((0, 0, 0, 1, 2)), **chance.choice(OF_CALL[call])})
    return found


def drawn_delay(chance: random.Random) -> dict[str, Any]:
    """Return how long a batch takes; now and then it expires, with a part of it finished."""
    if chance.random() < 0.05:
        return {"delay_seconds": 26 * HOUR_SECONDS, "finished_before_expiry": chance.choice((0.0, 0.5))}
    return {"delay_seconds": chance.choice((60.0, 600.0, 3_000.0, 4 * HOUR_SECONDS))}
