"""The pipeline file as frozen values: each key with its type, its default and its meaning.

These models are the only list of keys: the parser, the JSON Schema and the table of keys in the docs are made from
them. The descriptions are written for that table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from batchpipe.pipeline.codes import Code
from batchpipe.pipeline.evaluations import SEPARATOR
from batchpipe.pipeline.review_table import Review
from batchpipe.pipeline.sending import Chunking, LocalRung, Retry, Rung
from batchpipe.pipeline.value_types import (
    NAME_PATTERN,
    Dollars,
    Flag,
    Frozen,
    Names,
    Number,
    OlderName,
    OutputField,
    PartOfAll,
    Share,
    Whole,
    listed,
)

# The columns of every output table beside the key, the fields and what is included, with their DuckDB types.
ADDED_COLUMNS = (
    ("_model", "VARCHAR"),
    ("_rung", "SMALLINT"),
    ("_prompt_version", "VARCHAR"),
    ("_custom_id", "VARCHAR"),
    ("_batch_id", "VARCHAR"),
    ("_completed_at", "TIMESTAMP"),
    ("_cost_usd", "DECIMAL(38, 15)"),
    ("_review", "BOOLEAN"),
    ("_reviewed_by", "VARCHAR"),
    ("_current", "BOOLEAN"),
)


class Input(Frozen):
    """`[input]`: the rows that the pipeline answers."""

    query: str | None = Field(default=None, description="One DuckDB SELECT; its rows are the input.")
    query_file: str | None = Field(default=None, description="File with that SELECT (path from the project root).")
    key: Names = Field(min_length=1, description="Column or columns that name a row: stable, unique, not null.")
    setup: tuple[str, ...] = Field(default=(), description="Statements before the query: ATTACH, LOAD, CREATE SECRET.")
    params: Mapping[str, Any] = Field(
        default_factory=dict, description="`$name` in the query; `--param name=value` overrides."
    )
    window: Flag = Field(
        default=False,
        description="The query gives the rows of the last days, or only some rows: that keys leave it is no reason to "
        "stop or to say so.",
    )
    columns: Mapping[str, str] = Field(
        default_factory=dict,
        description="Columns and their DuckDB types. The query must return them; any other column is ignored.",
    )
    after_pipelines: Names | None = Field(
        default=None,
        description="Pipelines whose output tables the SQL reads, where it hides them: a PIVOT, `query_table()`.",
    )
    upstream: Literal["complete", "reviewed", "any"] = Field(
        default="complete",
        description='What is waited for in the pipelines that the SQL reads: `"complete"`, until none of their rows is '
        'due or in flight; `"reviewed"`, until a person has reviewed them too; `"any"`, nothing.',
    )


class Prompt(Frozen):
    """`[prompt]`: Jinja templates, under `prompts/` or inline."""

    system: str | None = Field(default=None, description="Template file of the system prompt, under `prompts/`.")
    system_text: str | None = Field(default=None, description="The system prompt, inline.")
    user: str | None = Field(default=None, description="Template file of the user message, under `prompts/`.")
    user_text: str | None = Field(default=None, description="The user message, inline.")
    cache: Literal["auto", "off", "5m", "1h"] = Field(
        default="auto",
        description='Caching of the text that every request begins with: `"auto"` if it saves money, with one request '
        'sent ahead to fill the cache; `"5m"` or `"1h"` always, without such a request; `"off"` never.',
    )
    vars: Mapping[str, Any] = Field(default_factory=dict, description="Constants for the templates.")
    queries: Mapping[str, str] = Field(
        default_factory=dict, description="Small tables for the templates, as lists of rows."
    )
    turns: str | None = Field(
        default=None,
        description="A query of `[prompt.queries]` with the columns `user` and `assistant`: its rows are turns before "
        "the row's own message.",
    )
    media_roots: tuple[str, ...] = Field(
        default=(),
        description="Folders beside the project whose files `image()` and `pdf()` may send; `file()` sends only files "
        "below these.",
    )


class Output(Frozen):
    """`[output]`: the fields of an answer, and the table that they are written to."""

    table: str | None = Field(
        default=None, description="Output table, `name` or `schema.name`; default: the pipeline's name."
    )
    format: Literal["json_schema", "tool", "json", "text"] = Field(
        default="json_schema", description="How the model is asked for the fields."
    )
    include: Names = Field(default=(), description="Input columns copied beside the fields.")
    after: tuple[str, ...] = Field(default=(), description="Statements after each commit of results.")
    schema_file: str | None = Field(default=None, description="File with a whole JSON Schema, in place of `fields`.")
    fields: Mapping[str, OutputField] = Field(default_factory=dict, description="Fields by name.")
    rows: Mapping[str, str] = Field(
        default_factory=dict, description='Tables of the items of list fields: `FIELD = "table"`.'
    )
    checks: Mapping[str, str] = Field(
        default_factory=dict, description="SQL conditions; a row that fails one is invalid."
    )


Rule = Flag | str


class Rerun(Frozen):
    """`[rerun]`: which answered rows a change makes due: `true`, `false` (keep the answers), or SQL."""

    input_changed: Rule = Field(default=True, description="A column that the prompt or a condition uses changed.")
    prompt_changed: Rule = Field(default=True, description="The prompt changed.")
    schema_changed: Rule = Field(default=True, description="The output schema changed.")


class Pilot(Frozen):
    """`[pilot]`: a new prompt version answers a small sample first, then waits for approval."""

    rows: Whole = Field(default=100, gt=0, description="Rows of the sample; no pilot where fewer are due.")
    stratify: str | None = Field(default=None, description="Input column whose values the sample takes in turn.")
    min_valid: Share = Field(default=0.95, description="Share of the sample's answers that must be valid.")
    max_usd_per_row: Dollars | None = Field(default=None, description="Most that a row may cost on average.")
    min_accuracy: PartOfAll | None = Field(
        default=None,
        description="Share of its gold rows that must be right, by the low end of the 95% interval; needs `[eval]`.",
    )
    auto: Flag = Field(default=False, description="Go on without `run --approve` if all these conditions hold.")
    meanwhile: Literal["wait", "previous"] = Field(
        default="wait", description='`"previous"`: new rows go on under the last approved version until approval.'
    )


class Budget(Frozen):
    """`[budget]`: the most that the pipeline may spend, in US dollars."""

    max_usd: Dollars | None = Field(default=None, description="All that this pipeline ever spends, until raised.")
    max_usd_per_day: Dollars | None = Field(default=None, description="The same within a day (UTC).")
    max_usd_per_month: Dollars | None = Field(default=None, description="The same within a calendar month (UTC).")
    reserve: Literal["bound", "most"] = Field(
        default="bound",
        description='What is held for a batch until its cost is known: `"bound"`, by earlier results, which one job in '
        '1,000 may pass, or `"most"`, the most that it can cost.',
    )


Codes = Annotated[tuple[Code, ...], BeforeValidator(listed, json_schema_input_type=Code | tuple[Code, ...])]


class Check(Frozen):
    """`[check]`: the warnings of `batchpipe check`."""

    ignore: Codes = Field(
        default=(),
        description="Codes of warnings that are not printed, such as `P004`.",
        json_schema_extra={"type_text": "a code or a list of codes"},
    )


class EvalField(Frozen):
    """`[eval.fields.NAME]`: how a field's value is compared with the true value."""

    compare: Literal["exact", "numeric", "set", "text", "judge"] = Field(
        description="`exact`, `numeric` within `tolerance`, `set` in any order, `text` by the F1 of its words, `judge` "
        "by a model."
    )
    tolerance: Number = Field(default=0, ge=0, description="Largest difference of two numbers that count as equal.")
    prompt: Prompt | None = Field(
        default=None,
        description="The judge's templates, with the keys of `[prompt]`; they see the input's columns, `answer` and "
        "`expected`.",
    )
    models: tuple[Rung, ...] = Field(
        default=(), description="The judge's ladder, with the keys of `[[models]]`, over `correct` and `reason`."
    )


def _eval_field(value: Any) -> Any:
    """Return the short form `NAME = "exact"` as the table `{compare = "exact"}`."""
    return {"compare": value} if isinstance(value, str) else value


class Eval(Frozen):
    """`[eval]`: rows whose true values are known, for `batchpipe eval`."""

    gold: str | None = Field(
        default=None,
        min_length=1,
        description="SELECT, or a csv, parquet or json file: the key, the true values, and the input's columns too, "
        "unless the key is looked up in the input. Without it, `fields` are compared with reviews.",
    )
    expect: Mapping[str, str] = Field(
        default_factory=dict, description="Gold column of a field, if its name differs from the field's."
    )
    fields: Mapping[
        str,
        Annotated[
            EvalField,
            BeforeValidator(_eval_field, json_schema_input_type=Literal["exact", "numeric", "set", "text"] | EvalField),
        ],
    ] = Field(
        default_factory=dict,
        description='Fields that are compared, and how: `"exact"`, `"set"`, `"text"` or '
        '`{compare = "numeric", tolerance = 0.01}`, or a judge\'s table; default: each that gold has, exact.',
    )
    confidence: str = Field(default="confidence", description="Output field, or SQL, that says how sure an answer is.")
    error_usd: Dollars | None = Field(default=None, description="What a wrong answer costs you, in US dollars.")


class Pipeline(Frozen):
    """A pipeline file."""

    name: str = Field(pattern=NAME_PATTERN, description="Default: the file's stem.")
    description: str = Field(default="", description="For people.")
    renamed_from: OlderName | tuple[OlderName, ...] | Literal[False] | None = Field(
        default=None,
        description="Older name, or names, whose history goes on; or `false`: this is no other pipeline under a new "
        "name.",
        json_schema_extra={"type_text": "a string, a list of strings, or `false`"},
    )
    input: Input
    prompt: Prompt
    output: Output
    models: tuple[Rung, ...] = Field(min_length=1, description="The ladder, cheapest first.")
    local: LocalRung | None = None  # in the file the first of `[[models]]`
    chunking: Chunking = Chunking()
    retry: Retry = Retry()
    rerun: Rerun = Rerun()
    pilot: Pilot | None = None
    review: Review = Review()
    budget: Budget = Budget()
    check: Check = Check()
    eval: Eval | None = None

    _earlier_names: tuple[str, ...] = PrivateAttr(default=())

    @property
    def older_names(self) -> tuple[str, ...]:
        """Return the names that `renamed_from` gives."""
        return (self.renamed_from,) if isinstance(self.renamed_from, str) else self.renamed_from or ()

    @property
    def names(self) -> list[str]:
        """Return the pipeline's name and the older names whose history it continues."""
        return list(dict.fromkeys((self.name, *self.older_names, *self._earlier_names)))

    def as_evaluation(self, *parts: str) -> Pipeline:
        """Return the pipeline under the name of an evaluation or a judge of it, NAME:PARTS, which continues those of
        the older names.
        """
        name, *older = (SEPARATOR.join((each, *parts)) for each in self.names)
        return self.model_copy(update={"name": name, "renamed_from": None}).continuing(older)

    def continuing(self, names: Sequence[str]) -> Pipeline:
        """Return the pipeline as one that also continues the histories of `names`, as the ledger links them."""
        copy = self.model_copy()
        copy._earlier_names = tuple(names)
        return copy

    @property
    def table(self) -> str:
        """Return the name of the output table: `name` or `schema.name`."""
        return self.output.table or self.name


class PipelineFile(Frozen):
    """A pipeline, the file it was read from, and the project root that relative paths start at.

    `query`: the text of the input query, whether the pipeline file or a `query_file` holds it. `schema_content`: the
    parsed `schema_file`. `lines`: the line of each key, by its path as people write it. `evaluates`: for a pipeline
    that was made for an evaluation, which has no output table, the names of the pipeline that it evaluates.
    `learner`: then that pipeline, where it has a local model, which templates may ask.
    `section`: the table that holds a judge's prompt and models, such as `eval.fields.summary`. `project_budget`: what
    all pipelines of the project may spend together. `in_realtime`: this
    call asks every rung in realtime, whatever the file says.
    """

    pipeline: Pipeline
    path: Path
    root: Path
    query: str = ""
    schema_content: Mapping[str, Any] | None = None
    lines: Mapping[str, int] = Field(default_factory=dict, repr=False)
    evaluates: tuple[str, ...] = ()
    learner: Pipeline | None = None
    section: str = ""
    project_budget: Budget = Budget()
    in_realtime: bool = False

    def with_realtime(self, wanted: bool) -> PipelineFile:
        """Return this file, with every rung asked in realtime where that is `wanted`."""
        return self.model_copy(update={"in_realtime": True}) if wanted else self

    def where(self, toml_path: str = "") -> str:
        """Return the place of `toml_path` for an error message: `pipelines/x.toml:8 [input] key`.

        A rung of `[[models]]` is counted without the local one, which has the number 0.
        """
        try:
            shown = self.path.relative_to(self.root)
        except ValueError:
            shown = self.path
        if self.section:
            toml_path = re.sub(r"^(\[\[?)(?=(prompt|models)\b)", lambda found: f"{found[1]}{self.section}.", toml_path)
        if self.pipeline.local is not None and not self.section:
            toml_path = re.sub(r"^(\[\[models\]\]) (\d+)", lambda found: f"{found[1]} {int(found[2]) + 1}", toml_path)
        line = self.lines.get(toml_path)
        return f"{shown}{f':{line}' if line else ''} {toml_path}".rstrip()
