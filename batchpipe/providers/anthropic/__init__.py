"""The Message Batches API of Anthropic; the only room that names it. The first call imports the SDK.

Input: messages, schemas and settings of a rung; a key and a base URL.
Output: request params, the replies of six calls as values, saved result files and the SQL that reads their lines.
It writes no table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from batchpipe.providers import AuthHeader, ProviderRules
from batchpipe.providers.anthropic.rules import Rules
from batchpipe.providers.shared.credentials import checked_key, checked_url

if TYPE_CHECKING:
    import httpx2

    from batchpipe.providers.anthropic.calls import Calls

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

DEFAULT_BASE_URL = "https://api.anthropic.com"
RULES = Rules()
KEY_VARIABLE = "ANTHROPIC_API_KEY"
KEY_VARIABLES = (KEY_VARIABLE, "ANTHROPIC_AUTH_TOKEN")
BASE_URL_VARIABLE = "ANTHROPIC_BASE_URL"
ENDPOINTS: tuple[str, ...] = ()
VARIABLES = (*KEY_VARIABLES, BASE_URL_VARIABLE)
PRICED_AS = "anthropic"


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

    The key is ANTHROPIC_API_KEY, else ANTHROPIC_AUTH_TOKEN; the URL is `base_url`, else ANTHROPIC_BASE_URL.
    `auth_header` is for gateways that do not read a Bearer key; a token is always sent as Bearer. `headers` are sent
    with every call; there is one `endpoint`. `transport` carries the HTTP requests; None is the network. Raises
    CredentialsError without a key, or for a key or URL that cannot be part of a request.
    """
    from batchpipe.providers.anthropic.calls import Calls  # a plan makes no call

    name = next((each for each in KEY_VARIABLES if credentials.get(each)), KEY_VARIABLE)
    key = checked_key(credentials.get(name), name=name, provider=RULES.name)
    url = checked_url(base_url or credentials.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL, name=BASE_URL_VARIABLE)
    return Calls(
        key=key,
        base_url=url,
        timeout_seconds=timeout_seconds,
        auth_header="bearer" if name == "ANTHROPIC_AUTH_TOKEN" else auth_header or "bearer",
        headers=headers or {},
        transport=transport,
    )
