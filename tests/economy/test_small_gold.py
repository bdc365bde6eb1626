"""Small and strange gold: honest words, and no promise that it cannot carry."""

from __future__ import annotations

from pathlib import Path

from local_project import WITHOUT, LocalProject, body_of

GOLD = '\n[eval]\ngold = "gold.csv"\n'


def project_of(root: Path, labels: dict[int, str]) -> LocalProject:
    """Return a project whose models are right on every row, with these true values."""
    project = LocalProject(root, WITHOUT + GOLD)
    project.rows(range(40))
    lines = ["id,body,label", *(f"{number},{body_of(number)[0]},{label}" for number, label in labels.items())]
    (root / "gold.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return project


def test_true_values_that_a_field_cannot_have_are_told(tmp_path: Path) -> None:
    labels = {number: body_of(number)[1] for number in range(30)} | {30: "strange", 31: ""}
    project = project_of(tmp_path, labels)
    text = project.command("eval", "triage", "--yes").stdout
    assert "2 gold rows have a true value that label cannot have, and count as wrong whatever a model answers." in text
    assert "93.8%" in text


def test_too_few_gold_rows_promise_nothing(tmp_path: Path) -> None:
    project = project_of(tmp_path, {number: body_of(number)[1] for number in range(10)})
    for more in ((), ("--reviewer-usd", "0.05", "--target", "0.98"), ("--held-out",)):
        ended = project.command("eval", "triage", "--yes", "--tune", *more, code=2)
        assert "tuning needs at least 20 gold rows, and there are 10: 10 more are needed" in ended.stderr
        assert "submitted" not in ended.stderr
    for option, value in (("--target", "1.5"), ("--risk", "0")):
        ended = project.command("eval", "triage", "--yes", "--tune", option, value, code=2)
        assert f"error: {option}: the" in ended.stderr
        assert "submitted" not in ended.stderr
    agreement = ("--tune", "--as-good-as", "claude-opus-4-8")
    project.rows(range(12))
    ended = project.command("eval", "triage", "--yes", *agreement, code=2)
    assert "tuning needs at least 20 rows of the input, and there are 12: 8 more are needed" in ended.stderr
    assert "submitted" not in ended.stderr
