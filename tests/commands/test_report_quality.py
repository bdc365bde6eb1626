"""Tests of `report` with gold rows: the cost of a right row, and whether each rung is worth its cost."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest
from calls import ask
from helpers import judged as judges
from helpers.gold import GOLD, HAIKU, LABELS, LADDER, OPUS, RIGHT, SONNET, answer_by, answer_lines, gold_rows
from helpers.gold import report as evaluated
from helpers.reports import reported
from helpers.reviewed import correct
from projects import BASIC, Project
from statsmodels.stats.proportion import proportion_confint

from batchpipe.cli.main import main
from batchpipe.commands.printing.gold import MADE_UP
from batchpipe.commands.report.quality import SubLadder
from batchpipe.commands.report.report import report
from batchpipe.commands.report.rungs import keep
from batchpipe.common.errors import PipelineError
from batchpipe.engine.gold.agreement import Agreed

THREE = LADDER.replace("max_tokens = 300\n", 'max_tokens = 300\naccept = "score >= 0.5"\n') + (
    f'\n[[models]]\nmodel = "{OPUS}"\nmax_tokens = 300\n'
)


def priced(text: str, usd: str) -> str:
    return text + GOLD + f"error_usd = {usd}\n"


@pytest.fixture
def answered(project: Project) -> Project:
    """Sixty rows answered by a ladder of two rungs; the true label of forty is known."""
    project.pipeline(LADDER + GOLD)
    rows = gold_rows(60)
    project.rows(rows)
    project.rows(rows[:40], "gold.csv")
    answer_by(project, answer_lines(rows, RIGHT))
    project.run()
    return project


def labels(project: Project) -> dict[int, tuple[int, bool]]:
    """Return the rung of each row with a true value, and whether its answer is right."""
    found = project.sql("SELECT id, _rung, label FROM demo WHERE id <= 40")
    return {key: (rung, label == LABELS[key % 3]) for key, rung, label in found}


def test_the_cost_of_a_right_row_and_what_each_rung_answered(answered: Project) -> None:
    sent = answered.requests_sent()
    found = reported(answered)
    quality, known = found["quality"], labels(answered)
    hits = sum(right for _, right in known.values())
    low, high = proportion_confint(hits, 40, method="wilson")
    right = quality["right"]
    assert (right["n"], right["right"]) == (40, hits)
    assert [float(each) for each in right["ci95"]] == pytest.approx([low, high], abs=1e-9)
    per_1000 = found["total"]["cost_usd"] * 1000 / 60
    assert float(quality["usd_per_1000_correct"]) == pytest.approx(float(per_1000) * 40 / hits)
    ends = [float(each) for each in quality["usd_per_1000_correct_ci95"]]
    assert ends == pytest.approx([float(per_1000) / high, float(per_1000) / low])
    costs = {each["rung"]: each["cost_usd"] for each in found["rungs"]}
    for each in quality["rungs"]:
        own = [right for rung, right in known.values() if rung == each["rung"]]
        [(rows,)] = answered.sql(f"SELECT count(*) FROM demo WHERE _rung = {each['rung']}")
        assert (each["rows"], each["right"]["n"], each["right"]["right"]) == (rows, len(own), sum(own))
        assert each["cost_usd"] == costs[each["rung"]]
    text = ask(answered, report, ["demo"]).out
    assert f"{hits / 40:.1%} (" in text
    assert "of 40 gold rows" in text
    assert "To see whether each rung is worth its cost: batchpipe eval demo --models all" in text
    assert (quality["evaluation"], quality["problem"], quality["made_up"]) == (None, None, False)
    assert answered.requests_sent() == sent


def test_what_a_person_said_is_held_against_the_model(answered: Project) -> None:
    before = reported(answered)["quality"]["right"]
    known = labels(answered)
    good = next(key for key, (_, right) in known.items() if right)
    answered.pipeline(LADDER + GOLD + '\n[review]\nwhere = "true"\n')
    label = dict(answered.sql("SELECT id, label FROM demo"))[good]
    correct(answered, {good: {"label": next(each for each in LABELS if each != label)}, 50: {}})
    found = reported(answered)["quality"]
    assert (found["right"]["n"], found["right"]["right"]) == (41, before["right"] - 1 + 1)
    assert found["gold_from_review"]["rows"] == 2
    assert "2 of 41 gold rows come from review" in ask(answered, report, ["demo"]).out


def test_sources_that_give_other_types_are_alike(answered: Project) -> None:
    text = LADDER.replace("{{ body }}", "{{ amount }} {{ body }}") + GOLD
    answered.pipeline(text.replace('"gold.csv"', "\"SELECT * REPLACE (amount::DOUBLE AS amount) FROM 'gold.csv'\""))
    answered.run()
    assert reported(answered)["quality"]["right"]["n"] == 40
    other = "\"SELECT * REPLACE (amount + 0.5 AS amount) FROM 'gold.csv'\""
    answered.pipeline(text.replace('"gold.csv"', other))
    assert reported(answered)["quality"]["right"] is None


def test_gold_of_other_rows_leaves_the_evaluation(project: Project) -> None:
    project.pipeline(LADDER + GOLD)
    rows = gold_rows(60)
    project.rows([row | {"body": f"{row['body']} of another kind"} for row in rows])
    project.rows(rows[:40], "gold.csv")
    answer_by(project, answer_lines(rows, RIGHT))
    project.run()
    assert reported(project)["quality"]["right"] is None
    known = evaluated(project)["ladder"]
    quality = reported(project)["quality"]
    assert quality["right"] is None
    assert quality["evaluation"]["right"]["n"] == 40
    # The one is rounded to fifteen places.
    assert float(quality["evaluation"]["usd_per_1000_correct"]) == pytest.approx(float(known["usd_per_1000_correct"]))
    assert "by the evaluation of v1" in ask(project, report, ["demo"]).out


def ladders_by_hand(project: Project, count: int, models: list[str]) -> dict[tuple[int, ...], tuple[int, Decimal]]:
    """Return for each choice of rungs its right rows and its cost, from the answers of an evaluation of every model."""
    answers: dict[str, dict[int, tuple[str, float, Decimal]]] = {model: {} for model in models}
    for model, key, output, cost in project.sql(
        "SELECT q.model, q.key, r.output::VARCHAR, r.cost_usd FROM ledger.requests q "
        "JOIN ledger.results r USING (custom_id) WHERE q.leads"
    ):
        said = json.loads(output)
        answers[model][int(json.loads(key)[0])] = (said["label"], said["score"], cost)
    found = {}
    for size in range(1, len(models) + 1):
        for chosen in combinations(range(1, len(models) + 1), size):
            hits, cost = 0, Decimal(0)
            for key in range(1, count + 1):
                label = ""
                for rung in chosen:
                    label, score, usd = answers[models[rung - 1]][key]
                    cost += usd
                    if rung == len(models) or score >= 0.5:
                        break
                hits += label == LABELS[key % 3]
            found[chosen] = (hits, cost)
    return found


@pytest.mark.parametrize("usd", ["0.00001", "0.001", "1.0"])
def test_the_cheapest_ladder_with_its_errors(project: Project, usd: str) -> None:
    project.pipeline(priced(THREE, usd))
    rows = gold_rows(40)
    project.rows(rows)
    project.rows(rows, "gold.csv")
    answer_by(project, answer_lines(rows, RIGHT))
    evaluated(project, models="all")
    sent = project.requests_sent()
    found = reported(project)["quality"]["evaluation"]
    by_hand = ladders_by_hand(project, 40, [HAIKU, SONNET, OPUS])
    assert {tuple(each["rungs"]): each["right"]["right"] for each in found["ladders"]} == {
        chosen: hits for chosen, (hits, _) in by_hand.items()
    }
    for each in found["ladders"]:
        assert each["usd_per_1000"] == by_hand[tuple(each["rungs"])][1] * 1000 / 40
    totals = {chosen: cost + Decimal(usd) * (40 - hits) for chosen, (hits, cost) in by_hand.items()}
    cheapest = min(totals, key=lambda chosen: (totals[chosen], len(chosen)))
    assert tuple(found["cheapest"]["rungs"]) == cheapest
    assert found["cheapest"]["usd_per_1000_with_errors"] == totals[cheapest] * 1000 / 40
    whole = (1, 2, 3)
    for each in found["rungs"]:
        left = tuple(rung for rung in whole if rung != each["rung"])
        assert each["earns_its_keep"] == (totals[whole] <= totals[left])
        assert tuple(each["without"]["rungs"]) == left
    assert sum(each["rows"] for each in found["rungs"]) == 40
    text = ask(project, report, ["demo"]).out
    if cheapest == whole:
        assert "the whole ladder is the cheapest" in text
    else:
        models = " > ".join([HAIKU, SONNET, OPUS][rung - 1] for rung in cheapest)
        assert f"the cheapest ladder is {models}: " in text
        assert ("move up" in text) == (cheapest[0] > 1)
    assert project.requests_sent() == sent


def test_where_not_every_model_answered_only_what_is_known_is_said(answered: Project) -> None:
    evaluated(answered)
    found = reported(answered)["quality"]["evaluation"]
    assert [each["rungs"] for each in found["ladders"]] == [[1], [1, 2]]
    assert found["cheapest"] is None
    text = ask(answered, report, ["demo"]).out
    assert "To compare the other ladders with it: batchpipe eval demo --models all" in text
    assert f"Rung 2, {SONNET}, " in text
    assert f"Rung 1, {HAIKU}, " not in text
    answered.pipeline(LADDER.replace(SONNET, OPUS) + GOLD)
    assert "The ladder has other models now" in ask(answered, report, ["demo"]).out


def choice(hits: int, usd: str, with_errors: str | None = None) -> SubLadder:
    return SubLadder(
        rungs=(1, 2),
        models=("a", "b"),
        right=Agreed(name="", n=100, agreed=hits),
        usd_per_1000=Decimal(usd),
        usd_per_1000_correct=None,
        usd_per_1000_with_errors=None if with_errors is None else Decimal(with_errors),
    )


@pytest.mark.parametrize(
    ("present", "without", "kept", "words"),
    [
        (choice(90, "1.0"), choice(80, "2.0"), True, "is worth its cost: without it 1,000 rows cost $1.00 more"),
        (choice(80, "2.0"), choice(90, "1.0"), False, "is not worth its cost: without it 1,000 rows cost $1.00 less"),
        (choice(90, "2.0"), choice(80, "1.0"), None, "is worth its cost where a wrong row costs more than $0.0100"),
        (choice(80, "1.0"), choice(90, "2.0"), None, "is worth its cost where a wrong row costs less than $0.0100"),
        (choice(90, "2.0", "12"), choice(80, "1.0", "21"), True, "is worth its cost: without it"),
        (choice(90, "2.0", "2.1"), choice(80, "1.0", "1.2"), False, "is not worth its cost: without it"),
    ],
)
def test_whether_a_rung_earns_its_keep(present: SubLadder, without: SubLadder, kept: bool | None, words: str) -> None:
    found = keep(present, without)
    assert found[0] is kept
    assert words in found[1]
    fewer = "fewer" if present.right.agreed > without.right.agreed else "more"
    assert f"10 {fewer} of 100 rows are right" in found[1]


def test_where_nothing_is_known_nothing_is_said(project: Project) -> None:
    project.pipeline(BASIC)
    rows = gold_rows(5)
    project.rows(rows)
    project.run()
    assert reported(project)["quality"] is None
    before = ask(project, report, ["demo"]).out
    assert "gold" not in before
    project.pipeline(BASIC + GOLD)
    found: dict[str, Any] = reported(project)["quality"]
    assert "gold.csv" in found["problem"]
    assert found["right"] is None
    text = ask(project, report, ["demo"]).out
    assert "Not compared with gold: " in text
    project.rows(rows, "gold.csv")
    assert reported(project)["quality"]["right"]["n"] == 5


def test_on_the_emulator_what_is_right_is_made_up(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.pipeline(BASIC + GOLD + "[pilot]\nrows = 5\n")
    rows = gold_rows(10)
    project.rows(rows)
    project.rows(rows, "gold.csv")
    assert main(["run", "demo", "--emulator", "--pilot", "5"]) == 6
    assert "made up, as the emulator's answers are" in capsys.readouterr().out
    assert main(["run", "demo", "--emulator", "--approve"]) == 0
    project.pipeline(BASIC.replace("{{ body }}", "Label: {{ body }}") + GOLD)
    assert main(["run", "demo", "--emulator"]) == 0
    for command in (["report", "demo"], ["diff", "demo"]):
        capsys.readouterr()
        assert main([*command, "--emulator"]) == 0
        printed = capsys.readouterr()
        assert MADE_UP in printed.out + printed.err


def test_a_field_that_a_judge_compares_is_left_out(project: Project) -> None:
    both = judges.EVAL.replace("[eval.fields.summary]", '[eval.fields]\nconfidence = "exact"\n[eval.fields.summary]')
    project.rows(judges.ROWS)
    judges.begin(project, judges.LADDER + both.replace('"gold.csv"', "\"SELECT *, 0.9 AS confidence FROM 'gold.csv'\""))
    project.run()
    sent = project.requests_sent()
    quality = reported(project)["quality"]
    assert quality["right"]["n"] == 20
    [(sure,)] = project.sql("SELECT count(*) FROM demo WHERE confidence = 0.9")
    assert quality["right"]["right"] == sure
    assert "Without summary, which a judge compares: only `eval` asks a judge." in ask(project, report, ["demo"]).out
    # Of its ladders an evaluation knows: its marks are the judge's too.
    project.pipeline(judges.LADDER + judges.EVAL)
    found = evaluated(project, models="all")
    known = reported(project)["quality"]
    assert known["right"] is None
    singles = [each for each in known["evaluation"]["ladders"] if len(each["rungs"]) == 1]
    assert [float(each["right"]["accuracy"]) for each in singles] == [judges.accuracy(each) for each in found["models"]]
    assert project.requests_sent() > sent
    edited = judges.LADDER.replace("Sum up", "Sum it up")
    project.pipeline(edited + judges.EVAL + "[pilot]\nrows = 5\nmin_accuracy = 0.5\n")
    with pytest.raises(PipelineError, match="only judges compare the fields"):
        project.plan()
