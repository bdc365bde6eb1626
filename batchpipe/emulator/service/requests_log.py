"""What the log says of one request: its id, hashes of what was asked and of its files, and how it ended."""

from base64 import b64decode
from collections.abc import Callable
from hashlib import md5, sha256

import orjson

from batchpipe.emulator.service.jsontypes import JsonObject, is_list, is_object

_NAMES = ("file_id", "fileUri")
# Members whose content counts as the same, whether they hold bytes or name an upload.
_MEMBERS = {"inlineData": "fileData"}
# What holds the bytes of a file, or names them.
_HOLDERS = ("data", "image_url", "url", "file_data", *_NAMES)


def request_log(
    custom_id: str, params: object, result: str | None, uploaded: Callable[[str], bytes | None] = lambda name: None
) -> JsonObject:
    """Return the entry of a request; `params` are hashed as JSON with sorted keys.

    `uploaded` returns the bytes of a file that the request names; None for an address elsewhere. A file counts by its
    content: it is the same whether it stands in the request or was uploaded before.
    """
    files: list[str] = []
    canonical = orjson.dumps(_by_content(params, uploaded, files), option=orjson.OPT_SORT_KEYS)
    logged: JsonObject = {"custom_id": custom_id, "params_md5": md5(canonical).hexdigest(), "result": result}
    return logged | {"files": files} if files else logged


def _by_content(value: object, uploaded: Callable[[str], bytes | None], files: list[str]) -> object:
    """Return `value` with the SHA-256 of each file in its place, and add them to `files` in their order."""
    if is_list(value):
        return [_by_content(each, uploaded, files) for each in value]
    if not is_object(value):
        return value
    content = _content(value, uploaded)
    if content is None:
        return {_MEMBERS.get(name, name): _by_content(each, uploaded, files) for name, each in value.items()}
    files.append(sha256(content).hexdigest())
    rest = {name: each for name, each in value.items() if name not in (*_HOLDERS, "filename", "mimeType")}
    return {**rest, "file": files[-1]}


def _content(value: JsonObject, uploaded: Callable[[str], bytes | None]) -> bytes | None:
    """Return the bytes of the file that an object holds or names; None where it holds none."""
    for name in _HOLDERS:
        each = value.get(name)
        if not isinstance(each, str):
            continue
        if name == "data":
            return b64decode(each) if "mimeType" in value or value.get("type") == "base64" else None
        if name in _NAMES:
            return uploaded(each)
        if each.startswith("data:") and ";base64," in each[:100]:
            return b64decode(each.partition(",")[2])
    return None
