"""The codes of the warnings of `batchpipe check`. `[check] ignore` takes them."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The code of a warning. A code never changes its meaning, and the code of a removed warning is not used again."""

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
    P013 = "P013"
    P014 = "P014"
    P015 = "P015"
    P016 = "P016"
