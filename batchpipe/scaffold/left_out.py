"""Find the columns that a new prompt had better not show: the label that the model is to find, and personal data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import duckdb

from batchpipe.sql.quoting import quote_identifier, quote_literal

LABEL = "it looks like the label"
PERSONAL = "it looks like personal data"
BYTES = "its bytes are no text"
# The number of rows whose values are looked at, and the share of the filled ones that have to look alike.
SEEN_ROWS = 1_000
SHARE = 0.6

_LABEL_NAME = re.compile(r"(.*_)?(labels?|gold|truth|target|expected|annotations?|ground_truth|y_true)(_.*)?")
# These names are the label only where the pipeline is to choose one.
_CLASS_NAME = re.compile(r"(.*_)?(class|category|intent|sentiment|topic|tag)")
_PERSONAL_NAME = re.compile(
    r"(.*_)?(e_?mail(_?address)?|tele(ph|f)on(e)?(_?(number|no|nr))?|phone(_?(number|no))?|mobile(_?(number|phone))?|fax|"
    r"(first|last|middle|family|given|sur|full|maiden|nick)_?names?|vorname|nachname|"
    r"(customer|client|patient|user|person|contact|author|sender|recipient|employee|owner|holder|member)_?name|"
    r"(home_?|street_?|postal_?|billing_?|shipping_?|mailing_?)?address(_?line)?(_?\d)?|street|adresse|strasse|"
    r"post(al)?_?code|zip(_?code)?|plz|ssn|social_?security(_?(number|no))?|national_?id|tax_?id|passport(_?(number|no))?|"
    r"iban|bic|(credit_?)?card_?(number|no)|account_?(number|no)|birth_?(date|day)|date_?of_?birth|dob|geburtsdatum|"
    r"ip(_?address)?|salary)"
)
_PERSONAL_VALUE = (
    r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}",  # an e-mail address
    r"\+\d[\d ()./-]{6,}",  # an international telephone number
    r"[A-Z]{2}\d{2}[A-Z0-9 ]{11,32}",  # an IBAN
    r"(?:\d{1,3}\.){3}\d{1,3}",  # an address of the internet
    r"\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{4}",  # the number of a card
    r"\d{3}-\d{2}-\d{4}",  # a number of US social security
)


def left_out(
    session: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, str], labels: Sequence[str]
) -> dict[str, str]:
    """Return of `columns`, with their types, those that a prompt had better not show, each with the reason.

    A column is judged by its name and by its values in the first rows of `relation`.
    """
    by_name = {each: reason for each in columns if (reason := _by_name(each, labels=bool(labels)))}
    others = [each for each in columns if each not in by_name]
    by_value: dict[str, str] = _by_value(session, relation, others, labels) if others else {}
    by_value |= dict.fromkeys(
        _no_text(session, relation, [name for name, kind in columns.items() if kind == "BLOB"]), BYTES
    )
    return {each: reason for each in columns if (reason := by_name.get(each) or by_value.get(each))}


def _no_text(session: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str]) -> list[str]:
    """Return of columns with bytes those whose bytes are not all UTF-8, which a template cannot print."""
    names = [quote_identifier(each) for each in columns]
    counts = [f"count(*) FILTER ({name} IS NOT NULL AND TRY(decode({name})) IS NULL)" for name in names]
    found = session.execute(f"SELECT {', '.join(counts) or 'NULL'} FROM {relation}").fetchone() or ()
    return [each for each, wrong in zip(columns, found, strict=False) if wrong]


def _by_name(column: str, *, labels: bool) -> str | None:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column)
    name = re.sub(r"[^a-z0-9äöüß]+", "_", spaced.lower()).strip("_")
    if _LABEL_NAME.fullmatch(name) or (labels and _CLASS_NAME.fullmatch(name)):
        return LABEL
    return PERSONAL if _PERSONAL_NAME.fullmatch(name) else None


def _by_value(
    session: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str], labels: Sequence[str]
) -> dict[str, str]:
    listed = ", ".join(quote_literal(each.casefold()) for each in labels) or "NULL"
    personal = quote_literal("|".join(f"(?:{each})" for each in _PERSONAL_VALUE))
    counts = []
    for each in columns:
        text = f"trim(CAST({quote_identifier(each)} AS VARCHAR))"
        counts += [
            f"count({text})",
            f"count(*) FILTER (lower({text}) IN ({listed}))",
            f"count(*) FILTER (regexp_full_match({text}, {personal}))",
        ]
    rows = f"(SELECT * FROM {relation} LIMIT {SEEN_ROWS})"
    found = session.execute(f"SELECT {', '.join(counts)} FROM {rows}").fetchone() or ()
    reasons = {}
    for place, each in enumerate(columns):
        filled, labelled, personally = found[3 * place : 3 * place + 3]
        if filled and labelled >= SHARE * filled:
            reasons[each] = LABEL
        elif filled and personally >= SHARE * filled:
            reasons[each] = PERSONAL
    return reasons
