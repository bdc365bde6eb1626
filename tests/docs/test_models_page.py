"""Tests of the page of models and prices: it names what the protocols know."""

from __future__ import annotations

import pytest
from model_prices import PAGE, models_of


@pytest.mark.parametrize("provider", ["anthropic", "openai", "gemini"])
def test_the_page_names_every_known_model_with_its_limits(provider: str) -> None:
    rows = [line.split(" | ") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    listed = {cells[0].strip("|` "): cells for cells in rows if len(cells) == 6}
    known = models_of(provider)
    assert set(known) <= set(listed)
    for model, each in known.items():
        assert listed[model][1] == f"{each['context']:,}"
        assert listed[model][2] == f"{each.get('long_output', each['max_output']):,}"
        assert listed[model][5].strip("| ")
