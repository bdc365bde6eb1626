"""Print the prompt's change in a plan: for people, for programs, and for a pull request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from batchpipe.commands.printing.markdown import code, details, fence, shortened_lines
from batchpipe.commands.printing.text import key_text, safe
from batchpipe.engine.plan.prompt_diff import PromptDiff, RenderedRequest, SampledRow

NOTHING_ANSWERED = "nothing is answered yet: there is no earlier prompt"


def prompt_diff_object(diff: PromptDiff) -> dict[str, Any]:
    """Return `diff` of `plan --diff --json`: both versions, the changed parts of the prompt, the rows before and
    after.
    """
    label = diff.before.label if diff.before else None
    return {
        "from": label,
        "to": diff.after.label,
        "problem": diff.problem,
        "prompt": [{"part": each.part, "diff": each.diff} for each in diff.prompt],
        "rows": [
            {
                "key": json.loads(each.key),
                "reason": each.reason,
                "version": each.version,
                "before": _request(each.before),
                "after": _request(each.after),
                "diff": _diff_of(diff, each),
            }
            for each in diff.rows
        ],
    }


def prompt_diff_text(diff: PromptDiff) -> str:
    """Return the prompt's change for people. Nothing in it steers the terminal."""
    lines = ["", f"  prompt, {_versions(diff)}"]
    if diff.before is not None and not diff.prompt:
        lines.append("    is the same")
    lines += [block(each.diff) for each in diff.prompt]
    if diff.problem is not None:
        lines.append(f"  requests cannot be rendered by {diff.before.label if diff.before else ''} any more:")
        lines.append(block(diff.problem))
    for each in diff.rows:
        lines += ["", f"  {safe(key_text(each.key))}: {headline(diff, each)}"]
        lines.append(block(row_text(diff, each)))
    return "\n".join(lines)


def prompt_diff_markdown(diff: PromptDiff) -> list[str]:
    """Return the prompt's change as Markdown, with the rows folded."""
    versions = f"{code(diff.before.label)} → {code(diff.after.label)}" if diff.before else NOTHING_ANSWERED
    parts = [f"**Prompt**, {versions}" + ("" if diff.prompt or diff.before is None else ": the same")]
    if diff.prompt:
        parts.append(fence("\n".join(each.diff for each in diff.prompt), "diff"))
    if diff.problem is not None:
        parts.append(f"Requests cannot be rendered by the earlier version any more: {code(diff.problem)}")
    if diff.rows:
        parts.append("**Rows**, before and after")
    for each in diff.rows:
        language = "diff" if each.before is not None else ""
        parts.append(details([key_text(each.key), headline(diff, each)], fence(row_text(diff, each), language)))
    return parts


def _versions(diff: PromptDiff) -> str:
    return f"{safe(diff.before.label)} → {safe(diff.after.label)}" if diff.before else NOTHING_ANSWERED


def headline(diff: PromptDiff, row: SampledRow) -> str:
    """Return why the row is due, and the version of its answer where that is not the version that is compared."""
    compared = diff.before.label if diff.before else None
    under = f", answered under {row.version}" if row.version not in (None, compared) else ""
    return f"{row.reason}{under}"


def row_text(diff: PromptDiff, row: SampledRow) -> str:
    """Return the change of a row's request, or the request where there was none before."""
    if row.before is None:
        return row.after.text
    return _diff_of(diff, row) or "the request is the same"


def _diff_of(diff: PromptDiff, row: SampledRow) -> str | None:
    if row.before is None or diff.before is None:
        return None
    return row.diff(f"request ({diff.before.label})", f"request ({diff.after.label})")


def _request(request: RenderedRequest | None) -> dict[str, Any] | None:
    if request is None:
        return None
    return {
        "system": request.system,
        **({"turns": request.turns} if request.turns else {}),
        "user": request.user if request.problem is None else None,
        "feedback": request.feedback,
        "problem": request.problem,
    }


def block(text: str, indent: str = "    ") -> str:
    """Return `text` indented, and cut where it is long. Nothing in it steers the terminal."""
    shown = shortened_lines(safe(text, lines=True))
    return "\n".join(indent + line for line in shown.split("\n"))


def due_rows_text(names: Sequence[str], rows: Sequence[tuple[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of due rows: the columns of the key, then the reason."""
    return [*names, "reason"], [[*(str(each) for each in json.loads(key)), reason] for key, reason in rows]
