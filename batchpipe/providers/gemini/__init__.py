"""The batches of the Gemini Developer API, as it calls them; the only room that names it. It needs no SDK.

Input: messages, schemas and settings of a rung; a key and a base URL.
Output: request params, the replies of its calls as values, saved result files and the SQL that reads their lines.
It writes no table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from batchpipe.providers import AuthHeader, ProviderRules
from batchpipe.providers.gemini.rules import Rules
from batchpipe.providers.shared.credentials import checked_key, checked_url

if TYPE_CHECKING:
    import httpx2

    from batchpipe.providers.gemini.calls import Calls

__all__ = [
    "BASE_URL_VARIABLE",
    "DEFAULT_BASE_URL",
    "KEY_VARIABLE",
    "KEY_VARIABLES",
    "PRICED_AS",
    "RULES",
    "VARIABLES",
    "provider",
    "rules",
]

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com"
RULES = Rules()
KEY_VARIABLE = "GEMINI_API_KEY"
KEY_VARIABLES = (KEY_VARIABLE, "GOOGLE_API_KEY")
BASE_URL_VARIABLE = "GOOGLE_GEMINI_BASE_URL"
ENDPOINTS: tuple[str, ...] = ()
VARIABLES = (*KEY_VARIABLES, BASE_URL_VARIABLE)
PRICED_AS = "google"


def rules(endpoint: str | None = None) -> ProviderRules:
    """Return the rules, which are the same for every endpoint."""
    return RULES


def provider(
    credentials: Mapping[str, str],
    *,
    base_url: str | None,
    timeout_seconds: float = 600,
    auth_header: AuthHeader | None = None,
    headers: Mapping[str, str] | None = None,
    endpoint: str | None = None,
    transport: httpx2.BaseTransport | None = None,
) -> Calls:
    """Return the provider with its calls, bound to a key and a base URL.

    The key is GEMINI_API_KEY, else GOOGLE_API_KEY; the URL is `base_url`, else GOOGLE_GEMINI_BASE_URL, without the
    version of the API. `auth_header` is for gateways that read another header, `headers` are sent beside it with each
    call. The protocol has one endpoint for batches, so that `endpoint` says nothing. `transport` carries the HTTP
    requests; None is the network. Raises CredentialsError without a key, or for a key or URL that cannot be part of a
    request.
    """
    from batchpipe.providers.gemini.calls import Calls  # a plan makes no call

    name = next((each for each in KEY_VARIABLES if credentials.get(each)), KEY_VARIABLE)
    key = checked_key(credentials.get(name), name=name, provider=RULES.name)
    url = checked_url(base_url or credentials.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL, name=BASE_URL_VARIABLE)
    name_of_header: str = auth_header or "x-goog-api-key"
    sent: dict[str, str] = {"authorization": f"Bearer {key}"} if name_of_header == "bearer" else {name_of_header: key}
    return Calls(
        key=key,
        base_url=url,
        headers={**(headers or {}), **sent},
        timeout_seconds=timeout_seconds,
        transport=transport,
    )
