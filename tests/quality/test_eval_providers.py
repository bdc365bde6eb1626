"""Evaluations over models of three providers: each by its own protocol, its own prices, and one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from helpers.gold import GOLD, HAIKU, OPUS, SONNET, answer_by, answer_lines, gold_rows, report, run_eval
from helpers.judged import EVAL, LADDER, ROWS, accuracy, begin, is_right, lines, said_by
from projects import BASIC, Project

from batchpipe.engine.cost.pricing import unit_price

MODELS: Mapping[str, tuple[str, Callable[[int], bool]]] = {
    "claude-haiku-4-5": ("anthropic", lambda n: n % 2 == 0),
    "openai:gpt-6-luna": ("openai", lambda n: n % 3 > 0),
    "gemini:gemini-3.8-flash": ("google", lambda n: n % 5 > 0),
}
RUNG = '\n[[models]]\nmodel = "{model}"\nmax_tokens = 300\n'
UNSURE = BASIC.replace("max_tokens = 200\n", 'max_tokens = 200\naccept = "score >= 0.5"\n')


def test_models_of_three_providers_are_held_against_one_gold(project: Project) -> None:
    names = list(MODELS)
    further = RUNG.format(model=names[1]).replace("300\n", '300\naccept = "score >= 0.5"\n') + RUNG.format(
        model=names[2]
    )
    project.pipeline(UNSURE + further + GOLD)
    rows = gold_rows(30)
    project.rows(rows, "gold.csv")
    answer_by(project, answer_lines(rows, {name.rpartition(":")[2]: right for name, (_, right) in MODELS.items()}))
    found = report(project, models="all")
    assert [each["model"] for each in found["models"]] == names
    assert project.requests_sent() == 90
    batches = project.sql("SELECT provider, sum(requests) FROM ledger.batches GROUP BY ALL ORDER BY ALL")
    assert batches == [("anthropic", 30), ("gemini", 30), ("openai", 30)]
    for entry, (name, (listed_as, right)) in zip(found["models"], MODELS.items(), strict=True):
        assert entry["n"] == 30
        assert float(entry["fields"]["label"]["accuracy"]) == sum(right(n) for n in range(1, 31)) / 30
        # The cost is that of the tokens at this provider's own prices of a batch.
        model = name.rpartition(":")[2]
        (tokens,) = project.sql(
            "SELECT sum(r.input_tokens), sum(r.output_tokens), max(r.recorded_at), sum(r.cost_usd) "
            "FROM ledger.results r JOIN ledger.requests q USING (chunk_id, custom_id) WHERE q.model = $1",
            [model],
        )
        price = unit_price(listed_as, model, tokens[2].date())
        assert price is not None
        assert price.exact
        cost = tokens[0] * price.steps[0].input + tokens[1] * price.steps[0].output
        assert Decimal(entry["cost_usd"]) == tokens[3].normalize() == cost.normalize() > 0
    # Nothing is asked twice, in this table or in a ladder of another order.
    assert report(project, models="all") == found
    assert project.requests_sent() == 90


def test_judges_of_three_providers_are_asked_one_after_the_other_each_at_its_own_price(project: Project) -> None:
    """What the first judge does not call correct goes to the second one, and what that one does not, to the third."""
    judges: Mapping[str, tuple[str, Callable[[str, int], bool]]] = {
        "openai:gpt-6-luna": ("openai", is_right),
        "gemini:gemini-3.8-flash": ("google", lambda model, n: n % 2 == 0),
        OPUS: ("anthropic", lambda model, n: n % 9 == 0),
    }
    rungs = "".join(
        f'[[eval.fields.summary.models]]\nmodel = "{each}"\nmax_tokens = 200\n'
        + ('accept = "correct"\n' if each != OPUS else "")
        for each in judges
    )
    said = [each for each in lines() if each["model"] != OPUS]
    for row in ROWS:
        for model in (HAIKU, SONNET):
            match = f"Does <{said_by(model, row['id'])}> mean"
            for judge, (_, verdict) in judges.items():
                output = {"correct": verdict(model, row["id"]), "reason": f"{judge} on {row['id']}"}
                said.append({"model": judge.rpartition(":")[2], "match": match, "output": output})
    begin(project, LADDER + EVAL.partition("[[eval.fields.summary.models]]")[0] + rungs, said)
    found = report(project, models="all")

    def correct(model: str, n: int) -> bool:
        return n % 4 == 0 or any(verdict(model, n) for _, verdict in judges.values())

    by_hand = [sum(correct(model, row["id"]) for row in ROWS) / 20 for model in (HAIKU, SONNET)]
    assert [accuracy(each) for each in found["models"]] == by_hand
    (judge,) = found["judges"]
    assert (judge["models"], judge["answers"], judge["judged"], judge["not_judged"]) == (list(judges), 27, 27, 0)
    cost = Decimal(0)
    asked = []
    for name, (listed_as, _) in judges.items():
        model = name.rpartition(":")[2]
        (tokens,) = project.sql(
            "SELECT sum(r.input_tokens), sum(r.output_tokens), max(r.recorded_at), count(*), "
            "count(*) FILTER (r.outcome = 'answered') FROM ledger.results r "
            "JOIN ledger.requests q USING (chunk_id, custom_id) WHERE q.model = $1 AND r.pipeline LIKE 'demo:judge:%'",
            [model],
        )
        price = unit_price(listed_as, model, tokens[2].date())
        assert price is not None
        assert price.exact
        cost += tokens[0] * price.steps[0].input + tokens[1] * price.steps[0].output
        asked.append(tokens[3])
        assert tokens[3] == tokens[4]
    assert asked[0] == 27 > asked[1] > asked[2] > 0
    assert Decimal(judge["cost_usd"]) == cost.normalize() > 0
    assert report(project, models="all") == found
    assert project.requests_sent() == 40 + sum(asked)


def test_models_that_write_less_than_the_first_rung_allows_are_asked_for_what_they_write(project: Project) -> None:
    """A batch of claude-sonnet-4-6 may have 300,000 tokens; retries of the others keep to their room, too."""
    roomy = BASIC.replace(f'model = "{HAIKU}"\nmax_tokens = 200', f'model = "{SONNET}"\nmax_tokens = 200_000')
    project.pipeline(roomy + 'effort = "low"\n' + GOLD)
    rows = gold_rows(20)
    project.rows(rows, "gold.csv")
    others = (HAIKU, "openai:gpt-6-luna", "gemini:gemini-3.8-flash", "claude-opus-4-8")
    found = run_eval(project, model=others)
    assert found.code == 0
    rooms = dict(project.sql("SELECT DISTINCT model, max_tokens FROM ledger.requests"))
    assert rooms == {
        SONNET: 200_000,
        "claude-opus-4-8": 200_000,
        HAIKU: 64_000,
        "gpt-6-luna": 128_000,
        "gemini-3.8-flash": 65_536,
    }
    for model, room in zip(others[:3], ("64,000", "128,000", "65,536"), strict=True):
        assert f"{model} is asked with max_tokens = {room}, the most that it writes" in found.talk
    assert "opus-4-8 is asked" not in found.talk
    assert run_eval(project, model=others).value == found.value
    assert project.requests_sent() == 100
