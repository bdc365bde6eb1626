"""The table of all rules: code, name, what a rule finds, how to fix it, and the function that finds it.

The texts are written for the table in the docs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from batchpipe.lint.differing_labels import differing_labels
from batchpipe.lint.labels import MANY_LABELS, no_examples, unexplained_labels
from batchpipe.lint.size import HUGE_TIMES, HUGE_TOKENS, LARGE_TOKENS, misfit_max_tokens, repeated_text
from batchpipe.lint.subject import Finding, Subject
from batchpipe.lint.task import no_output_format, several_tasks
from batchpipe.pipeline.codes import Code

HEADER = ("Code", "Name", "Finds", "To fix it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `find` is None if only code outside the linter can find it; `Subject.known` then has what was found."""

    code: Code
    name: str
    finds: str
    mend: str
    find: Callable[[Subject], Iterable[Finding]] | None = None


RULES = (
    Rule(
        code=Code.P001,
        name="several-tasks",
        finds="orders of different kinds (classify, summarize, translate, extract, rewrite, reply, rate), or tasks "
        "that the prompt counts; English only",
        mend="write a pipeline for each task",
        find=several_tasks,
    ),
    Rule(
        code=Code.P002,
        name="no-output-format",
        finds='`format = "text"`, and the prompt does not say how long the answer is or what it holds',
        mend="name the form in the prompt; other formats are enforced, or sent with every request",
        find=no_output_format,
    ),
    Rule(
        code=Code.P003,
        name="differing-labels",
        finds="`feature request` for the value `feature_request`; a list of labels, or rows of examples, with a label "
        "that is not in the enum; a list in which a label is missing",
        mend='let the template write the labels: `{{ fields.label.enum | join(", ") }}`',
        find=differing_labels,
    ),
    Rule(
        code=Code.P004,
        name="unexplained-label",
        finds="an enum value that no prompt, meaning or description explains; plain words (`low`, `other`) and codes "
        "(`EUR`) need none",
        mend='write `[output.fields.label.enum]` with `value = "what it means"`',
        find=unexplained_labels,
    ),
    Rule(
        code=Code.P005,
        name="repeated-text",
        finds=f"{LARGE_TOKENS:,} tokens or more that are the same in every request and not cached, with what they cost",
        mend="move them before the first value of a row, so that they can be cached",
        find=repeated_text,
    ),
    Rule(
        code=Code.P006,
        name="misfit-room",
        finds=f"`max_tokens` below the schema's smallest answer, or more than {HUGE_TIMES} times its largest and "
        f"{HUGE_TOKENS:,}",
        mend="write the `max_tokens` that the warning names",
        find=misfit_max_tokens,
    ),
    Rule(
        code=Code.P007,
        name="no-examples",
        finds=f"more than {MANY_LABELS} labels without an example in the prompt",
        mend="add `[prompt.queries] examples`",
        find=no_examples,
    ),
    Rule(
        code=Code.P008,
        name="changing-query",
        finds="an input query that may return other rows each time: `now()`, `random()`, a `LIMIT` without an order",
        mend="add an `ORDER BY`, or use a parameter",
    ),
    Rule(
        code=Code.P009,
        name="model-setting",
        finds="a model that the provider retires soon, or a setting that looks wrong",
        mend="follow the hint of the warning",
    ),
    Rule(
        code=Code.P010,
        name="unset-variable",
        finds="`${NAME}` in `after` that is not set in the environment",
        mend="set the variable where `run` is called",
    ),
    Rule(
        code=Code.P011,
        name="unknown-price",
        finds="a model whose price is not known, so that costs will not be known",
        mend="give a file of `prices`",
    ),
    Rule(
        code=Code.P012,
        name="unread-query",
        finds="with `--offline`, a query of `[prompt.queries]` that needs a source; it is taken as empty",
        mend="run `check` without `--offline` too",
    ),
    Rule(
        code=Code.P013,
        name="too-long",
        finds="rows that are too long for a model of the ladder; they go to a rung whose model takes more",
        mend="nothing, where the cost is right; else shorten the text, or add a rung whose model takes more",
    ),
    Rule(
        code=Code.P014,
        name="rounded-value",
        finds="numbers of a CSV file that are read with other digits: DuckDB chooses a column's type by a sample, and "
        "`5.5` becomes 6 where the sample has whole numbers only",
        mend="give the column's type: `read_csv('FILE', types = {'amount': 'DECIMAL(18,2)'})`",
    ),
    Rule(
        code=Code.P015,
        name="hidden-tables",
        finds="a statement that may read output tables of other pipelines and does not show it: a PIVOT, `query()`, "
        "`query_table()`",
        mend="name the pipelines: `[input] after_pipelines = [...]`; an empty list says that it reads none",
    ),
    Rule(
        code=Code.P016,
        name="empty-query",
        finds="a query of `[prompt.queries]` that the prompt uses and that gives no row: its turns, examples or list "
        "are missing from every request; `plan` says so too",
        mend="add rows to what it reads, or remove it from the prompt",
    ),
)


def findings(subject: Subject, ignore: Collection[Code] = ()) -> Iterator[tuple[Rule, Finding]]:
    """Yield what the rules find, in the order of the table. Rules with a code in `ignore` are not applied."""
    for rule in RULES:
        if rule.code not in ignore:
            found = rule.find(subject) if rule.find is not None else subject.known.get(rule.code, ())
            yield from ((rule, each) for each in found)


def rules_table() -> str:
    """Return a Markdown table of all rules: code, name, what it finds, how to fix it."""
    lines = [f"| {' | '.join(HEADER)} |", f"| {' | '.join('---' for _ in HEADER)} |"]
    for each in RULES:
        cells = (each.code, f"`{each.name}`", each.finds, each.mend)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"
