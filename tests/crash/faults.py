"""The faults of the network that sweeps make."""

from __future__ import annotations

from typing import Any

LIST_LAG = 0.3
SUBMIT_TIMEOUT = 3.0

Fault = dict[str, Any]


def fault(call: str, name: str, **more: Any) -> Fault:
    return {"call": call, "fault": name, **more}


FAULTS: dict[str, list[Fault]] = {
    "accepted then reset": [fault("create", "accepted_then_reset")],
    "accepted then 500": [fault("create", "accepted_then_status:500")],
    "accepted then 529": [fault("create", "accepted_then_status:529")],
    "accepted then 408": [fault("create", "accepted_then_status:408")],
    "accepted then an empty 200": [fault("create", "accepted_then_empty")],
    "accepted then an HTML 200": [fault("create", "accepted_then_html")],
    "accepted after our time-out": [fault("create", "accepted_late", seconds=2 * SUBMIT_TIMEOUT)],
    "landed later": [fault("create", "landed_later", seconds=0.3)],
    "landed later than a reset": [fault("create", "landed_later", seconds=0.3, answer="reset")],
    "reset before it was taken": [fault("create", "reset")],
    "500 before it was taken": [fault("create", "status:500")],
    "an HTML 503 before it was taken": [fault("create", "status_html:503")],
    "two in a row of unknown outcome": [fault("create", "accepted_then_reset", times=2)],
    "three of which some landed": [
        fault("create", "accepted_then_reset"),
        fault("create", "reset", after=1),
        fault("create", "accepted_then_empty", after=2),
    ],
    "429": [fault("create", "status:429", retry_after=0.05)],
    "413": [fault("create", "status:413")],
    "a list that lags": [
        fault("create", "accepted_then_reset"),
        fault("list", "list_lag", seconds=LIST_LAG, times=1000),
    ],
    "a list that fails": [
        fault("create", "accepted_then_empty"),
        fault("list", "status:500"),
        fault("list", "reset", after=1),
        fault("list", "html", after=2),
        fault("list", "empty", after=3),
    ],
    "results cut at a line end": [fault("results", "results_cut_line_end")],
    "results cut within a line": [fault("results", "results_cut_mid_line")],
    "results short of their length": [fault("results", "results_cut_length")],
    "results cut within a chunk": [fault("results", "results_cut_chunk")],
    "a doubled line": [fault("results", "doubled_line")],
    "a doubled line that stays": [fault("results", "doubled_line", times=3)],
    "a differing double": [fault("results", "differing_double")],
    "a foreign line": [fault("results", "foreign_line")],
    "a foreign line that stays": [fault("results", "foreign_line", times=3)],
    "a missing line": [fault("results", "missing_line")],
    "a blank line": [fault("results", "blank_line")],
    "a broken line": [fault("results", "bad_json_line")],
    "results on another host": [fault("retrieve", "results_url_other_host", times=1000)],
    "no results for a while": [fault("results", "status:404"), fault("results", "status:500", after=1)],
    "results of a proxy": [fault("results", "html"), fault("results", "empty", after=1)],
    "results reset": [fault("results", "reset", times=2)],
    "404 after the create": [fault("retrieve", "status:404", times=2)],
    "polls that fail": [
        fault("retrieve", "status:500"),
        fault("retrieve", "reset", after=1),
        fault("retrieve", "html", after=2),
        fault("retrieve", "status:429", after=3),
        fault("retrieve", "empty", after=4),
    ],
}
