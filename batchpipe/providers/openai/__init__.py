"""The Batch API of OpenAI and of servers that speak its protocol, over plain HTTP; the only room that names it.

Input: messages, schemas and settings of a rung; a key, a base URL and an endpoint.
Output: request bodies, the replies of the calls as values, saved result files and the SQL that reads their lines.
It writes no table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batchpipe.common.errors import CredentialsError
from batchpipe.providers import AuthHeader, ProviderRules
from batchpipe.providers.openai.encoding import CHAT, RESPONSES, Endpoint
from batchpipe.providers.openai.rules import Rules
from batchpipe.providers.shared.credentials import checked_key, checked_url

if TYPE_CHECKING:
    import httpx2

    from batchpipe.providers.openai.calls import Calls

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

DEFAULT_BASE_URL = "https://api.openai.com/v1"
RULES = Rules()
KEY_VARIABLE = "OPENAI_API_KEY"
KEY_VARIABLES = (KEY_VARIABLE,)
BASE_URL_VARIABLE = "OPENAI_BASE_URL"
ORGANIZATION_VARIABLE = "OPENAI_ORG_ID"
PROJECT_VARIABLE = "OPENAI_PROJECT_ID"
ENDPOINTS: tuple[str, ...] = (RESPONSES, CHAT)
VARIABLES = (KEY_VARIABLE, BASE_URL_VARIABLE, ORGANIZATION_VARIABLE, PROJECT_VARIABLE)
PRICED_AS = "openai"


def rules(endpoint: str | None = None) -> ProviderRules:
    """Return the rules for requests to `endpoint`. Raises CredentialsError for one that is not known."""
    return RULES if endpoint is None else Rules(_endpoint(endpoint))


def _endpoint(endpoint: str | None) -> Endpoint:
    if endpoint is None or endpoint == RESPONSES:
        return RESPONSES
    if endpoint == CHAT:
        return CHAT
    raise CredentialsError(
        f"there is no endpoint `{endpoint}`", where="endpoint", hint=f'Write "{RESPONSES}" or "{CHAT}".'
    )


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
    """Return the provider with its calls, bound to a key, a base URL and an endpoint.

    The key is OPENAI_API_KEY; the URL is `base_url`, else OPENAI_BASE_URL; one without a path gets `/v1`. `auth_header`
    is for gateways that do not read a Bearer key; `headers` are sent with every call. `transport` carries the HTTP
    requests; None is the network. Raises CredentialsError without a key, or for a key or URL that cannot be part of a
    request.
    """
    from batchpipe.providers.openai.calls import Calls  # a plan makes no call

    key = checked_key(credentials.get(KEY_VARIABLE), name=KEY_VARIABLE, provider=RULES.name)
    url = checked_url(base_url or credentials.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL, name=BASE_URL_VARIABLE)
    if not urlsplit(url).path.strip("/"):
        url = url.rstrip("/") + "/v1"
    sent: dict[str, str] = {"authorization": f"Bearer {key}"}
    if auth_header is not None and auth_header != "bearer":
        sent = {auth_header: key}
    for name, variable in (("openai-organization", ORGANIZATION_VARIABLE), ("openai-project", PROJECT_VARIABLE)):
        if credentials.get(variable):
            sent[name] = credentials[variable]
    return Calls(
        key=key,
        base_url=url,
        headers={**sent, **(headers or {})},
        timeout_seconds=timeout_seconds,
        endpoint=_endpoint(endpoint),
        transport=transport,
    )
