"""What the log says of one request: its id, hashes of what was asked and of its files, and how it ended."""

from base64 import b64decode
from collections.abc import Callable, Iterator
from hashlib import md5, sha256

import orjson

from batchpipe.emulator.service.jsontypes import JsonObject, is_list, is_object

_FILE_KEYS = ("data",)
_NAMES = ("file_id", "fileUri")


def request_log(
    custom_id: str, params: object, result: str | None, uploaded: Callable[[str], bytes | None] = lambda name: None
) -> JsonObject:
    """Return the entry of a request; `params` are hashed as JSON with sorted keys.

    `uploaded` returns the bytes of a file that the request names; None for an address elsewhere.
    """
    canonical = orjson.dumps(params, option=orjson.OPT_SORT_KEYS)
    logged: JsonObject = {"custom_id": custom_id, "params_md5": md5(canonical).hexdigest(), "result": result}
    files = list(_files(params, uploaded))
    return logged | {"files": files} if files else logged


def _files(value: object, uploaded: Callable[[str], bytes | None]) -> Iterator[str]:
    """Yield the SHA-256 of each file in a request, in their order: of what stands there as base64, or is named."""
    if is_list(value):
        for each in value:
            yield from _files(each, uploaded)
    elif is_object(value):
        for name, each in value.items():
            if isinstance(each, str) and name in _FILE_KEYS and ("mimeType" in value or value.get("type") == "base64"):
                yield sha256(b64decode(each)).hexdigest()
            elif isinstance(each, str) and each.startswith("data:") and ";base64," in each[:100]:
                yield sha256(b64decode(each.partition(",")[2])).hexdigest()
            elif isinstance(each, str) and name in _NAMES:
                data = uploaded(each)
                if data is not None:
                    yield sha256(data).hexdigest()
            else:
                yield from _files(each, uploaded)
