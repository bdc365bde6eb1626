"""What may be wrong with the address of a provider: the version of the API, or the path of a call, stands in it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from batchpipe.common.errors import ProviderError
from batchpipe.providers import RefusedError
from batchpipe.providers.known import KnownProvider

# The version of an API at the end of an address, with paths of calls below it.
_VERSION = re.compile(
    r"/(v[0-9]+(?:alpha|beta)?)((?:/(?:messages|batches|models|responses|chat|completions|v[0-9]+))*)$"
)


def address_hint(provider: KnownProvider, url: str) -> str:
    """Return which edit of an address may help, on a line of its own; empty where nothing of it looks wrong."""
    version = urlsplit(provider.module.DEFAULT_BASE_URL).path.strip("/")
    found = _VERSION.search(url.rstrip("/"))
    if not version and found is not None:
        path = found[0]
        return f"\nOr take {path} off its base_url: calls of the protocol {provider.protocol} have it in their paths"
    if version and found is not None and found[2]:
        return f"\nOr take {found[2]} off its base_url: it ends in /{version}, and calls have the rest in their paths"
    if version and (found is None or found[1] != version):
        return f"\nOr end its base_url in /{version}, where its API stands there"
    return ""


def unknown_model(error: RefusedError, provider: KnownProvider, url: str, model: str, *, where: str) -> ProviderError:
    """Return the error for a realtime call that was answered by 404: the model, or the address, is wrong."""
    hint = f"Check the model's name, or `base_url`.{address_hint(provider, url)}"
    return ProviderError(f"the provider does not know {model}: {error.message}", where=where, hint=hint)
