"""Print a plan as Markdown, for a pull request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchpipe.commands.plan.pilot import held_text
from batchpipe.commands.plan.prompt_diff import due_rows_text, prompt_diff_markdown
from batchpipe.commands.printing.markdown import code, details, fence, table
from batchpipe.commands.printing.text import count, safe
from batchpipe.commands.printing.text import table as text_table
from batchpipe.engine.plan.plan import REASONS
from batchpipe.engine.run.preview import Preview


def plan_markdown(
    found: Preview, meanings: Mapping[str, str], work_pairs: Sequence[tuple[str, object]], notes: Sequence[str]
) -> str:
    """Return the plan with its counts, its cost (`work_pairs`, `notes`), the prompt's diff and sampled rows.

    Text of files, data or models stands in code.
    """
    plan = found.plan
    new = ", new" if found.version_is_new else ""
    words = [
        [f"`{word}`", count(plan.rows_by_reason[word]), meanings[word]] for word in REASONS if plan.rows_by_reason[word]
    ]
    parts = [f"### batchpipe plan: {code(found.resolved.name)} (prompt {found.version}{new})"]
    parts.append(f"{count(plan.input, 'row')} in the input, {count(plan.due)} due")
    if words:
        parts.append(table(("rows", "number", "meaning"), words, right=[1]))
    if plan.removed:
        parts.append(f"{count(plan.removed, 'answered row')} left the input; the results stay")
    shown = [[name, code(value)] for name, value in work_pairs if value not in (None, "")]
    waits = f": the pilot is {code(held_text(plan.held))}" if plan.held else ""
    parts.append(table(("", ""), shown) if plan.requests else f"Nothing to send{waits}.")
    parts += [f"- {code(each)}" for each in notes]
    if found.diff is not None:
        parts += prompt_diff_markdown(found.diff)
    if found.due_rows:
        names = [each.name for each in found.resolved.key_columns]
        header, rows = due_rows_text(names, [(each.key, each.reason) for each in found.due_rows])
        parts.append(details([f"{count(len(rows))} due keys"], fence(text_table(header, rows))))
    return safe("\n\n".join(parts), lines=True) + "\n"
