"""Check the options of `batchpipe eval` before anything is read or sent."""

from __future__ import annotations

from decimal import Decimal

from batchpipe.commands.call.model_name import refuse_no_model
from batchpipe.commands.call.options import EvalRequest
from batchpipe.commands.eval.agreement import LABELS
from batchpipe.common.errors import UsageError
from batchpipe.evaluation.claims import read_claim
from batchpipe.evaluation.tuning import FEWEST_ROWS, RISK, check_range

COMMAND_LINE = "the command line"
EVERY = "all"
MOST_USD = 1_000_000  # what a person may cost for one row


def refuse(request: EvalRequest, *, made_up: bool) -> None:
    """Check options that do not go together.

    Raises UsageError.
    """
    if request.models not in (None, EVERY):
        hint = "Write --models all, or name one model with --model."
        raise UsageError(f"--models {request.models} is not known", where=COMMAND_LINE, hint=hint)
    if request.wait is not None and request.no_wait:
        raise UsageError("--wait and --no-wait exclude each other", where=COMMAND_LINE, hint="Give one of them.")
    for name in (*request.model, *([request.as_good_as] if request.as_good_as else [])):
        refuse_no_model(name, COMMAND_LINE)
    refuse_tuning(request)
    refuse_agreement(request)
    if request.max_drop is not None and request.against is None:
        raise UsageError(
            "--max-drop without --against", where=COMMAND_LINE, hint="Name the version to compare with: --against V."
        )
    if request.fail_under and made_up:
        hint = "Give the emulator a file of answers: --answers FILE."
        raise UsageError(
            "the emulator's answers are made up, so --fail-under means nothing", where="--fail-under", hint=hint
        )


def refuse_agreement(request: EvalRequest) -> None:
    """Check the options that do not go together with `--as-good-as`.

    Raises UsageError.
    """
    if request.as_good_as is None:
        if request.labels is not None:
            hint = "Add --as-good-as MODEL, or count gold rows with --sample."
            raise UsageError("--labels goes with --as-good-as", where=COMMAND_LINE, hint=hint)
        return
    if not request.tune:
        raise UsageError("--as-good-as goes with --tune", where=COMMAND_LINE, hint="Add --tune.")
    against = {
        "--held-out": request.held_out,
        "--sample": request.sample is not None,
        "--fail-under": bool(request.fail_under),
        "--against": request.against is not None,
        "--history": request.history,
        "--html": request.html is not None,
        "--reviewer-usd": request.reviewer_usd is not None,
    }
    for option, given in against.items():
        if given:
            what = f"{option} is about gold, and --as-good-as needs none"
            raise UsageError(what, where=COMMAND_LINE, hint=f"Leave out {option}.")
    if request.labels is not None and request.labels < FEWEST_ROWS:
        what = f"tuning needs at least {FEWEST_ROWS} rows"
        raise UsageError(what, where="--labels", hint=f"Ask for more, such as --labels {LABELS}.")


def refuse_tuning(request: EvalRequest) -> None:
    """Check the options of `--tune`, and read what they promise.

    Raises UsageError for options that do not go together, or a promise that cannot be read.
    """
    given = (request.target, request.risk, request.plot, request.reviewer_usd, request.reviewer_accuracy)
    promised = (*request.precision, *request.recall)
    if not request.tune and (request.held_out or promised or any(each is not None for each in given)):
        what = "--target, --precision, --recall, --risk, --held-out, --plot and --reviewer-usd go with --tune"
        raise UsageError(what, where=COMMAND_LINE, hint="Add --tune.")
    if request.held_out and promised:
        what = "--precision and --recall promise for rows to come, and --held-out for the rest of this table"
        raise UsageError(what, where=COMMAND_LINE, hint="Leave out --held-out.")
    if request.reviewer_accuracy is not None and request.reviewer_usd is None:
        what = "--reviewer-accuracy goes with --reviewer-usd"
        raise UsageError(what, where=COMMAND_LINE, hint="Say what a row costs: --reviewer-usd 0.05")
    if request.reviewer_usd is not None:
        reviewer_dollars(request.reviewer_usd)
    check_range(request.target, RISK if request.risk is None else request.risk)
    for each in request.precision:
        read_claim("precision", each)
    for each in request.recall:
        read_claim("recall", each)


def reviewer_dollars(text: str) -> Decimal:
    """Return `--reviewer-usd` as US dollars.

    Raises UsageError for text that is no amount, or one that nobody pays for a row.
    """
    try:
        value = Decimal(text.removeprefix("$"))
    except ArithmeticError:
        value = Decimal(-1)
    if not value.is_finite() or not 0 <= value <= MOST_USD:
        hint = f"Write what one row costs, in US dollars, at most {MOST_USD:,}: --reviewer-usd 0.05"
        raise UsageError(f"{text!r} is no amount of US dollars", where="--reviewer-usd", hint=hint)
    return value
