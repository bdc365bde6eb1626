"""What the log says of one request: its id, a hash of what was asked, and how it ended."""

from hashlib import md5

import orjson

from batchpipe.emulator.service.jsontypes import JsonObject


def request_log(custom_id: str, params: object, result: str | None) -> JsonObject:
    """Return the entry of a request; `params` are hashed as JSON with sorted keys."""
    canonical = orjson.dumps(params, option=orjson.OPT_SORT_KEYS)
    return {"custom_id": custom_id, "params_md5": md5(canonical).hexdigest(), "result": result}
