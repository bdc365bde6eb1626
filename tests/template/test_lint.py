"""Tests of the linter for prompts: each rule finds what it should, and nothing in well-written prompts."""

from __future__ import annotations

import datetime
import json
import time
import tomllib
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, copy_examples
from hypothesis import given
from hypothesis import strategies as st

from batchpipe.commands.check.check import check_file
from batchpipe.commands.check.findings import Warned
from batchpipe.common.errors import PipelineError
from batchpipe.engine.context import Context
from batchpipe.engine.cost.pricing import unit_price
from batchpipe.lint.rules import RULES, findings, rules_table
from batchpipe.lint.subject import LintedRung, Subject
from batchpipe.pipeline.codes import Code
from batchpipe.pipeline.files import pipeline_files
from batchpipe.pipeline.load import load, parse
from batchpipe.project.settings import load_settings
from batchpipe.scaffold import init, new
from batchpipe.template.texts import HOLE, PromptText

LABELS = """
[output.fields.label]
type = "string"
enum = ["billing", "bug", "feature_request", "other"]
"""
EXPLAINED = LABELS + 'description = "billing: money. bug: it fails. feature_request: something new."\n'
TEXT = '[output.fields.text]\ntype = "string"\n'
TABLE = "| label | meaning |\n|---|---|\n| billing | money |\n| bug | fails |\n| feature_request | new |\n| other | x |"
MEANINGS = "- billing: money\n- bug: it fails\n- feature_request: something new\n- other: the rest\n"


class Desk:
    """A project of pipeline files alone, each checked as `batchpipe check` does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "batchpipe.toml").touch()
        (root / "pipelines").mkdir(exist_ok=True)

    def checked(self, name: str, *, offline: bool = False) -> Sequence[Warned]:
        context = Context(
            root=self.root, settings=load_settings(self.root, environment={}), environment={}, say=lambda text: None
        )
        try:
            found = check_file(context, load(self.root / "pipelines" / f"{name}.toml", self.root), {}, offline=offline)
        finally:
            context.close()
        assert found.problems == []
        return found.warnings

    def warned(
        self,
        prompt: str,
        output: str = TEXT,
        *,
        more: str = "",
        prompt_more: str = "",
        max_tokens: int = 200,
        output_format: str = "json_schema",
        query: str = "SELECT 1 AS id, 'text' AS body",
    ) -> Sequence[Warned]:
        """Return the warnings for a prompt, which begins on line 6 of its file."""
        text = (
            f'[input]\nquery = "{query}"\nkey = "id"\n\n'
            f"[prompt]\nuser_text = '''\n{prompt}\n{{{{ body }}}}'''\n{prompt_more}\n"
            f'[output]\nformat = "{output_format}"\n{output}\n'
            f'[[models]]\nmodel = "claude-haiku-4-5"\nmax_tokens = {max_tokens}\n{more}\n'
        )
        (self.root / "pipelines" / "demo.toml").write_text(text, encoding="utf-8")
        return self.checked("demo")

    def codes(self, *arguments: str, **options: object) -> list[str]:
        return [each.code for each in self.warned(*arguments, **options)]  # type: ignore[arg-type]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path)


@pytest.fixture
def desk_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Desk]:
    def make(root: Path) -> Desk:
        monkeypatch.chdir(root)
        return Desk(root)

    return make


def said(warned: Sequence[Warned], code: Code) -> list[str]:
    return [each.problem.what for each in warned if each.code == code]


class TestSeveralTasks:
    @pytest.mark.parametrize(
        "prompt",
        [
            "Classify the ticket by mood. Then translate it to English.",
            "You are a support agent.\n\nSummarize the ticket. Also write a reply to the customer.",
            "Classify each ticket, extract the order number and summarize it in one sentence.",
            "Your task is to classify the text. In addition, rate the urgency from 1 to 5.",
            "Read the review and classify its sentiment, then translate it into German.",
            "Please translate the text into English and summarize it.",
            "1. Extract the names.\n2. Rewrite the text without them.",
            "Task 1: find the names.\nTask 2: find the dates.",
            "Perform the following tasks:\n1. Find the names\n2. Count them",
            "Your tasks are to find names and dates.",
        ],
    )
    def test_are_found(self, desk: Desk, prompt: str) -> None:
        assert desk.codes(prompt) == ["P001"]

    @pytest.mark.parametrize(
        "prompt",
        [
            "Classify the ticket. Do not translate or summarize it.",
            "Summarize the ticket. Never translate names.",
            "You classify requests. A customer who asks us to translate or summarize a document wants other.",
            "Extract the invoice's fields. If one is missing, leave it out. The summary of the mail is data.",
            "Translate the text into German. Keep names. Classifying words stay as they are.",
            "Tag the function by purpose and describe it in one sentence.",
            "Score how relevant the document is to the question.",
            "Classify the ticket, and rate the confidence from 0 to 1.",
            "Classify the ticket and rate how sure you are. Summarize the reason in one sentence.",
            "Extract action items. A meeting may have several tasks, and everybody tasks of their own.",
        ],
    )
    def test_one_task_is_none_too_many(self, desk: Desk, prompt: str) -> None:
        assert desk.codes(prompt) == []

    def test_it_names_them_and_the_line_of_the_second(self, desk: Desk) -> None:
        [found] = desk.warned("Classify the ticket by mood.\n\nThen translate it.")
        assert found.problem.what == "the prompt asks for 2 tasks at once: classify, translate"
        assert found.problem.where == "pipelines/demo.toml:6 [prompt] user_text line 3"


class TestNoOutputFormat:
    @pytest.mark.parametrize("prompt", ["Summarize this:", "Translate the text to English."])
    def test_free_text_of_any_form(self, desk: Desk, prompt: str) -> None:
        assert desk.codes(prompt, "", output_format="text") == ["P002"]

    @pytest.mark.parametrize(
        "prompt",
        [
            "Summarize this in two sentences.",
            "Translate to English. Return only the translation.",
            "Fasse den Text in zwei Sätzen zusammen.",
        ],
    )
    def test_a_form_that_is_named(self, desk: Desk, prompt: str) -> None:
        assert desk.codes(prompt, "", output_format="text") == []

    @pytest.mark.parametrize("output_format", ["json_schema", "tool", "json"])
    def test_the_schema_names_it_in_every_other_format(self, desk: Desk, output_format: str) -> None:
        assert desk.codes("Summarize this:", output_format=output_format) == []


class TestDifferingLabels:
    @pytest.mark.parametrize(
        ("prompt", "what"),
        [
            (
                "Classify as billing, bug, feature request or other.",
                "the prompt says `feature request`, but the value of label is `feature_request`",
            ),
            (
                'Write "feature-request" for a wish.\nNo billing, no bug.',
                "the prompt says `feature-request`, but the value of label is `feature_request`",
            ),
            (
                "- billing: money\n- bugs: it fails\n- feature_request: new\n- other: rest",
                "the prompt says `bugs`, but the value of label is `bug`",
            ),
            (
                TABLE.replace("feature_request", "feature request"),
                "the prompt says `feature request`, but the value of label is `feature_request`",
            ),
            (
                "- biling: money\n- bug: x\n- feature_request: y\n- other: z",
                "the prompt says `biling`, but the value of label is `billing`",
            ),
            ("Choose one of billing, bug and other.", "the list of labels lacks `feature_request` of label"),
            (
                "Choose one of billing, bug, feature_request, complaint or other.",
                "`complaint` in a list of labels is no value of label",
            ),
            (
                "Read it, say why, choose one of billing, crash, feature_request or other, and be kind to bug hunters.",
                "`crash` in a list of labels is no value of label",
            ),
            (
                "Labels:\n- billing\n- bug\n- feature_request\n- complaint\n- praise\n- other",
                "`complaint` and `praise` in a list of labels are no values of label",
            ),
        ],
    )
    def test_are_found(self, desk: Desk, prompt: str, what: str) -> None:
        assert said(desk.warned(prompt, EXPLAINED), Code.P003) == [what]

    @pytest.mark.parametrize(
        "prompt",
        [
            "A ticket may be about a feature request, a bug or billing. Bugs and billing questions are common.",
            "Keep names, dates and amounts. Judge by words and deeds, not by bugs.",
            "One of {{ fields.label.enum | join(', ') }}. For billing and bug be careful.",
            'A customer who writes "bugs" or \'billing\' writes data: use bug. Say "thanks".',
            'Never answer "feature" or "billings department".',
            "Questions on billing, cancellations, outages and bug reports go first.",
            "Classify as billing, bug, feature_request, or other depending on the subject.",
            'Answer with one of "billing", "bug", "feature_request" or "other".',
            "Return billing | bug | feature_request | other",
            "- BILLING: money\n- Bug: it fails\n- Feature_Request: new\n- Other: rest",
            "Product: shop\nTone: kind\n" + MEANINGS + "\n1. Be fast.\n2. Be exact.",
        ],
    )
    def test_prose_and_equal_labels_are_left_in_peace(self, desk: Desk, prompt: str) -> None:
        assert desk.codes(prompt, EXPLAINED) == []

    def test_the_rows_of_examples(self, desk: Desk) -> None:
        rows = "VALUES ('a', 'billing'), ('b', 'bug'), ('c', 'feature')"
        found = desk.warned(
            "{% for each in shots %}{{ each.body }}: {{ each.label }}\n{% endfor %}",
            EXPLAINED,
            prompt_more=f'[prompt.queries]\nshots = "SELECT * FROM ({rows}) AS v (body, label)"',
        )
        assert said(found, Code.P003) == ["`feature` in column label of the query shots is no value of label"]
        assert found[0].problem.where == "pipelines/demo.toml:11 [prompt.queries] shots"

    def test_it_points_into_an_included_file(self, desk: Desk) -> None:
        (desk.root / "prompts").mkdir()
        (desk.root / "prompts" / "labels.j2").write_text("Labels:\n- billing\n- bug\n- feature request\n- other\n")
        [found] = desk.warned("{% include 'labels.j2' %}", EXPLAINED)
        assert found.problem.where == "prompts/labels.j2:4"
        assert found.problem.hint == (
            'Write `feature_request`, or let the template write the values: {{ fields.label.enum | join(", ") }}.'
        )


class TestUnexplainedLabels:
    @pytest.mark.parametrize(
        ("prompt", "what"),
        [
            (
                "Choose one of billing, bug, feature_request, other.",
                "`billing`, `bug` and `feature_request` of label are not explained anywhere",
            ),
            (
                "{% for each in fields.label.enum %}\n- {{ each }}\n{% endfor %}",
                "`billing`, `bug` and `feature_request` of label are not explained anywhere",
            ),
            (
                "- billing: money\n- bug: it fails\n- feature_request\n- other",
                "`feature_request` of label is not explained anywhere",
            ),
        ],
    )
    def test_are_found(self, desk: Desk, prompt: str, what: str) -> None:
        found = desk.warned(prompt, LABELS)
        assert said(found, Code.P004) == [what]
        assert found[-1].problem.where.endswith("[output.fields.label] enum")

    @pytest.mark.parametrize("label", ['a"b', "c\\d", "x y", "é", "e.f", "\x7f"])
    def test_the_line_to_write_is_toml(self, desk: Desk, label: str) -> None:
        table = f"enum = {json.dumps([label, 'other'])}"
        [found] = [
            each
            for each in desk.warned(
                "Choose.", LABELS.replace('enum = ["billing", "bug", "feature_request", "other"]', table)
            )
            if each.code == Code.P004
        ]
        line = str(found.problem.hint).removeprefix("Write the enum as a table: ").partition("; or")[0]
        assert tomllib.loads(line) == {label: "what it means"}

    @pytest.mark.parametrize(
        "prompt",
        [
            MEANINGS,
            "Use billing for money, bug if something fails, and feature_request where they want something new.",
            "billing → money\nbug → it fails\nfeature_request → something new\nother → the rest",
            TABLE,
            "Ticket: paid twice\nLabel: billing\n\nTicket: crashes\nLabel: bug\n\nTicket: add\nLabel: feature_request",
        ],
    )
    def test_the_prompt_explains_them(self, desk: Desk, prompt: str) -> None:
        assert desk.codes(prompt, LABELS) == []

    def test_so_do_meanings_and_a_table_of_examples(self, desk: Desk) -> None:
        table = LABELS.replace(
            'enum = ["billing", "bug", "feature_request", "other"]',
            'enum = { billing = "money", bug = "fails", feature_request = "new", other = "" }',
        )
        assert desk.codes("Which?", table) == []
        rows = "VALUES ('a', 'billing'), ('b', 'bug'), ('c', 'feature_request')"
        shown = desk.codes(
            "{% for each in shots %}{{ each.body }}: {{ each.label }}\n{% endfor %}",
            LABELS,
            prompt_more=f'[prompt.queries]\nshots = "SELECT * FROM ({rows}) AS v (body, label)"',
        )
        assert shown == []

    @pytest.mark.parametrize(
        "values",
        [
            ["EUR", "USD", "GBP"],
            ["low", "medium", "high"],
            ["positive", "negative", "neutral"],
            ["asks_for_a_refund", "asks_for_an_invoice"],
            ["1", "2", "3"],
        ],
    )
    def test_values_that_everybody_knows_need_no_words(self, desk: Desk, values: list[str]) -> None:
        assert desk.codes("Which?", LABELS.replace('["billing", "bug", "feature_request", "other"]', str(values))) == []


class TestRepeatedText:
    RULES = "Follow the rules of the house. " * 400

    def test_it_is_priced_at_the_batch_tier(self, desk: Desk) -> None:
        [found] = desk.warned("Which?", prompt_more=f'system_text = "{self.RULES}"')
        price = unit_price("anthropic", "claude-haiku-4-5", datetime.datetime.now(datetime.UTC).date())
        assert price is not None
        tokens = round(len(self.RULES) / 3.5)
        usd = price.step(0).input * tokens * 1_000
        assert found.problem.what == (
            f"every request repeats about {tokens:,} tokens of the system prompt: ${usd:.2f} per 1,000 rows"
        )
        assert usd == Decimal("0.0000005") * tokens * 1_000
        assert found.problem.hint.startswith("claude-haiku-4-5 caches from 4,096 tokens up: shorten it, or put more")
        [found] = desk.warned("Which?", prompt_more=f'cache = "off"\nsystem_text = "{self.RULES}"')
        assert found.problem.hint.startswith('Write cache = "auto" under [prompt]')

    def test_a_cached_prompt_and_a_short_one(self, desk: Desk) -> None:
        for cache in ("auto", "1h"):
            assert desk.codes("Which?", prompt_more=f'cache = "{cache}"\nsystem_text = "{self.RULES * 2}"') == []
            assert desk.codes(self.RULES * 2 + "{{ body }}", prompt_more=f'cache = "{cache}"') == []
        assert desk.codes("Which?", prompt_more=f'system_text = "{self.RULES[:3000]}"') == []

    def test_in_the_user_message(self, desk: Desk) -> None:
        [found] = desk.warned("{{ body }}" + self.RULES * 2)
        assert found.code == "P005"
        assert found.problem.hint.startswith("Move it before the first value of a row, or into the system prompt")

    def test_rows_of_a_query_count(self, desk: Desk) -> None:
        found = desk.codes(
            "{% for each in rules %}{{ each.text }}{% endfor %}",
            prompt_more="[prompt.queries]\nrules = \"SELECT repeat('rule ', 2000) AS text\"",
        )
        assert found == ["P005"]


class TestMisfitRoom:
    def test_too_little(self, desk: Desk) -> None:
        fields = "".join(f'[output.fields.a_field_with_a_long_name_{n}]\ntype = "string"\n' for n in range(20))
        [found] = desk.warned("Extract.", fields, max_tokens=50)
        assert found.code == "P006"
        assert found.problem.what.startswith("max_tokens = 50 is too little: the smallest answer needs about ")
        assert found.problem.where.endswith("[[models]] 1 max_tokens")

    def test_far_too_much(self, desk: Desk) -> None:
        [found] = desk.warned(MEANINGS, LABELS, max_tokens=8_000)
        assert found.problem.what == "max_tokens = 8,000 is far more than the largest answer needs, about 12"

    def test_room_that_fits_or_whose_need_is_not_known(self, desk: Desk) -> None:
        assert desk.codes(MEANINGS, LABELS, max_tokens=1_024) == []
        assert desk.codes("Translate to English.", TEXT, max_tokens=8_000) == []
        assert (
            desk.codes(
                MEANINGS, LABELS, max_tokens=8_000, more='thinking = { type = "enabled", budget_tokens = 4_000 }'
            )
            == []
        )


class TestNoExamples:
    MANY = '[output.fields.c]\ntype = "string"\n[output.fields.c.enum]\n'
    MANY += "".join(f'kind{n} = "meaning {n}"\n' for n in range(15))

    def test_many_labels(self, desk: Desk) -> None:
        [found] = desk.warned("Which?", self.MANY)
        assert found.problem.what == "c has 15 values, and the prompt shows no example"

    def test_with_an_example_or_few_labels(self, desk: Desk) -> None:
        assert desk.codes("Example: the lamp flickers, kind1.", self.MANY) == []
        assert (
            desk.codes("Which?", self.MANY.replace("".join(f'kind{n} = "meaning {n}"\n' for n in range(5, 15)), ""))
            == []
        )


class TestTheOthers:
    def test_a_query_that_is_not_deterministic(self, desk: Desk) -> None:
        [found] = desk.warned("Which?", query="SELECT 1 AS id, now() AS body")
        assert (found.code, found.name) == ("P008", "changing-query")

    def test_a_variable_that_is_not_set(self, desk: Desk) -> None:
        assert desk.codes("Which?", "after = [\"SELECT '${TARGET}'\"]\n" + TEXT) == ["P010"]

    def test_a_price_that_nobody_knows(self, desk: Desk) -> None:
        desk.warned("Which?")
        path = desk.root / "pipelines" / "demo.toml"
        path.write_text(path.read_text().replace("claude-haiku-4-5", "claude-from-our-gateway"))
        assert "P011" in [each.code for each in desk.checked("demo")]


class TestIgnoring:
    def test_a_code_is_silenced(self, desk: Desk) -> None:
        prompt = "Classify as billing, bug, feature request or other."
        assert desk.codes(prompt, LABELS) == ["P003", "P004"]
        assert desk.codes(prompt, LABELS, more='[check]\nignore = ["P004"]') == ["P003"]
        assert desk.codes(prompt, LABELS, more='[check]\nignore = ["P003", "P004"]') == []
        assert desk.codes("Which?", query="SELECT now() AS body, 1 AS id", more='[check]\nignore = "P008"') == []

    @pytest.mark.parametrize(
        ("code", "hint"),
        [("P05", 'Write "P005".'), ("labels", 'Write "P001", "P002", ')],
    )
    def test_an_unknown_code_is_an_error(self, code: str, hint: str) -> None:
        text = f"""
[input]
query = "SELECT 1 AS id"
key = "id"
[prompt]
user_text = "x"
[output]
format = "text"
[[models]]
model = "m"
max_tokens = 9
[check]
ignore = ["{code}"]
"""
        with pytest.raises(PipelineError) as raised:
            parse(text, name="demo")
        [problem] = raised.value.problems
        assert problem.where == "pipeline:13 [check] ignore[0]"
        assert problem.what == f'cannot be "{code}"'
        assert problem.hint.startswith(hint)


def test_the_examples_are_clean(tmp_path: Path, desk_at: Callable[[Path], Desk]) -> None:
    desk = desk_at(copy_examples(tmp_path))
    folder = ROOT / "pipelines"
    names = [str(path.relative_to(folder).with_suffix("")) for path in pipeline_files(folder)]
    assert {name: [each.problem.what for each in desk.checked(name)] for name in names} == {name: [] for name in names}


def test_what_init_and_new_write_is_clean_but_for_labels_without_a_meaning(
    tmp_path: Path, desk_at: Callable[[Path], Desk]
) -> None:
    init(tmp_path)
    new("plain", root=tmp_path)
    new("sorted", root=tmp_path, labels=("spam_mail", "ham_mail", "other"))
    desk = desk_at(tmp_path)
    assert [desk.checked("feedback"), desk.checked("plain")] == [[], []]
    [found] = desk.checked("sorted")
    assert found.problem.what == "`spam_mail` and `ham_mail` of label are not explained anywhere"


def test_every_code_has_one_rule_and_the_table_a_row_for_it() -> None:
    assert [each.code for each in RULES] == list(Code)
    assert len({each.name for each in RULES}) == len(RULES)
    rows = rules_table().splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [f"| {code}" for code in Code]


WORDS = st.sampled_from(
    [
        *("billing", "bug", "feature request", "classify", "you ", "task 1", "if ", " or ", "<a>", "---", HOLE),
        *'\n\t "`:,._ß{|-',
    ]
)
SCHEMAS = st.sampled_from(
    [
        {},
        {"type": "object", "properties": {"label": {"enum": ["billing", "bug", "feature_request", None]}}},
        {"properties": {"a": {"type": ["array", "null"], "items": {"enum": ["x", "y"]}, "minItems": 2}}},
        {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]},
        {"properties": {"a": {"anyOf": [{"const": 1}, {"type": "integer", "minimum": 0, "maximum": 9}]}}},
        {"properties": {"a": {"type": "string", "format": "date"}, "b": True}, "additionalProperties": False},
    ]
)


@given(texts=st.lists(st.lists(WORDS, max_size=60), max_size=2), schema=SCHEMAS, cache=st.sampled_from(["auto", "1h"]))
def test_every_text_is_read_and_every_finding_says_where_and_how(
    texts: list[list[str]], schema: dict[str, Any], cache: str
) -> None:
    parts = [
        PromptText(kind=kind, text="".join(words), names=frozenset({"label"}), places=((0, kind, 1),))
        for kind, words in zip(("user", "system"), [*texts, [], []], strict=False)
    ]
    subject = Subject(
        prompts=parts,
        system=parts[1].text if cache == "1h" else None,
        output_format="text" if cache == "auto" else "json",
        schema=schema,
        rungs=[LintedRung(number=1, model="m", max_tokens=max_tokens, thinks=False) for max_tokens in (1, 100_000)],
        queries={"rows": [{"label": "bug", "body": None}, {"label": "billing", "body": 1}]},
        variables={"x": ["billing"]},
        cache=cache,
        place=lambda *paths: paths[-1],
        line=lambda name, line: f"{name}:{line}",
    )
    for rule, found in findings(subject):
        assert found.what
        assert found.where
        assert found.hint.endswith((".", "}"))
        assert rule.find is not None


@pytest.mark.parametrize("piece", [" ", "\n", "a_", "- ", "billing, ", '"', "---", "task ", "if ", "for each ", "| "])
def test_a_long_text_costs_no_more_than_its_length(piece: str) -> None:
    text = piece * (60_000 // len(piece))
    part = PromptText(kind="user", text=text, names=frozenset(), places=((0, "x", 1),))
    subject = Subject(
        prompts=[part],
        system=None,
        output_format="json",
        schema={"properties": {"label": {"enum": ["billing", "bug"]}}},
        rungs=[],
        queries={},
        variables={},
        cache="auto",
        place=lambda *paths: paths[-1],
        line=lambda name, line: f"{name}:{line}",
    )
    before = time.process_time()
    list(findings(subject))
    assert time.process_time() - before < 3
