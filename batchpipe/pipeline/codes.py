"""The codes of all that `check` warns of; `[check] ignore` names them."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """A code never changes its meaning; one that is given up is not used again."""

    P001 = "P001"
    P002 = "P002"
    P003 = "P003"
    P004 = "P004"
    P005 = "P005"
    P006 = "P006"
    P007 = "P007"
    P008 = "P008"
    P009 = "P009"
    P010 = "P010"
    P011 = "P011"
    P012 = "P012"
