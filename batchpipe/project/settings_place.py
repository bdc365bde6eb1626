"""Where the settings of the project stand: hints name the file that has them, and its tables as that file writes them.

The place is remembered when the settings are read. `pyproject.toml` has tables like `[tool.batchpipe.budget]`;
`batchpipe.toml` has either these or `[budget]` beside keys at its top level, and never both.
"""

from __future__ import annotations

from typing import NamedTuple

PREFIX = "tool.batchpipe"


class SettingsPlace(NamedTuple):
    """The file with the settings, and whether their keys stand at its top level."""

    file: str = "pyproject.toml"
    at_top: bool = False

    @property
    def shown(self) -> str:
        """Return what a message calls the table of all settings."""
        return self.file if self.at_top else f"{self.file} [{PREFIX}]"


_places = [SettingsPlace()]


def remember_place(place: SettingsPlace) -> None:
    """Let hints name `place` from now on."""
    _places[:] = [place]


def settings_file() -> str:
    """Return the name of the file that has the settings, or would have them."""
    return _places[0].file


def settings_table(name: str) -> str:
    """Return the header of the table `name` of the settings: `[budget]` or `[tool.batchpipe.budget]`."""
    return f"[{name}]" if _places[0].at_top else f"[{PREFIX}.{name}]"


def under(name: str = "") -> str:
    """Return where in the settings a key is to be written: in the table `name`, or beside all tables."""
    if name:
        return f"under {settings_table(name)} in {settings_file()}"
    return f"at the top of {settings_file()}" if _places[0].at_top else f"under [{PREFIX}] in {settings_file()}"


def prices_hint(name: str = "") -> str:
    """Return how the prices of a model are given in a file."""
    return f'prices = "prices.toml" {under(name)}'


def price_hint() -> str:
    """Return what to do where no price of a model is known."""
    return f"Correct its name, or give its price in a file: {prices_hint()}."


def project_budget() -> str:
    """Return what messages call the budget of all pipelines together; `[budget]` alone is that of one pipeline."""
    return f"{settings_file()} [budget]" if _places[0].at_top else settings_table("budget")
