"""The sample of `[review] sample`: which rows are drawn, in which order, and with which probability.

A row has a number from 0 to 1 by the hash of its key. It is drawn where this number is below its probability, and rows
are shown in the order of number / probability. So the rows that were reviewed first are a sample, too: each of them was
drawn with its probability times the quotient of the first row that was not reviewed (priority sampling: Duffield, Lund
and Thorup, J. ACM 54, 2007).
"""

from __future__ import annotations

from batchpipe.common.errors import PipelineError
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import Sql, json_pointer, quote_list, quote_literal, sql
from batchpipe.store.queries import query

MILLION = 1_000_000
UNIFORM = Sql("($sample / 1000000.0)")
BY_DOUBT = Sql("least(1.0, $sample / 1000000.0 * w.weight)")


def sample_parts(file: PipelineFile) -> dict[str, Sql]:
    """Return the parts of SQL that draw the sample of `file` under `$sample` (in millionths).

    They need a common table expression `accepted` (key_id, custom_id) before them. Raises PipelineError where
    no field says how sure an answer is.
    """
    draws = query("sample_draws", keys=Sql("(SELECT key_id FROM accepted WHERE $sample > 0)"))
    if file.pipeline.review.by == "uniform":
        return {"draws": draws, "probability": UNIFORM, "doubts": Sql(""), "with_doubts": Sql("")}
    doubts = query("doubts", confidence=quote_literal(confidence_path(file)), pipelines=quote_list(file.pipeline.names))
    return {
        "draws": draws,
        "probability": BY_DOUBT,
        "doubts": sql("{doubts}\n", doubts=doubts),
        "with_doubts": Sql("JOIN doubts w USING (key_id)"),
    }


def confidence_path(file: PipelineFile) -> str:
    """Return the JSON pointer of the field that says how sure an answer is.

    Raises PipelineError where there is no such field.
    """
    pipeline = file.pipeline
    name = pipeline.eval.confidence if pipeline.eval is not None else "confidence"
    known = (file.schema_content or {}).get("properties", pipeline.output.fields)
    if name not in known:
        what = f"rows are drawn by doubt, and there is no field {name!r} that says how sure an answer is"
        hint = 'Add a number field confidence, name another one (confidence = "..." under [eval]), or by = "uniform".'
        raise PipelineError(what, where=file.where("[review] by"), hint=hint)
    return json_pointer(name)


def sample_parameter(file: PipelineFile) -> int:
    """Return the share of the sample in millionths: the value of `$sample`."""
    return round(file.pipeline.review.sample * MILLION)
