"""What a provider is to the rest: pure rules and encoding, six calls, and its own limits and prices.

A provider is one module that has `RULES` and a `provider(...)` factory, and one line in `REGISTRY`.
Input: messages, schemas, bodies of batches. Output: request params, states of batches, saved result files.
It writes no table. The name of a provider appears nowhere else.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import cast

from batchpipe.common.errors import PipelineError
from batchpipe.common.likeness import nearest
from batchpipe.providers.interface import Encoder, Provider, ProviderModule, ProviderRules
from batchpipe.providers.values import (
    Account,
    Answer,
    AuthHeader,
    BatchList,
    BatchState,
    Block,
    BlockKind,
    CacheTtl,
    CreateKind,
    Ended,
    Limits,
    MediaLimits,
    Message,
    Mode,
    NoListError,
    NotSentError,
    OutcomeKind,
    RateRoom,
    RefusedError,
    RuleProblem,
    RungSettings,
    SentSchema,
    Shipment,
    Turn,
    UnavailableError,
    UnknownOutcomeError,
    UploadedFile,
    WithoutLine,
)

__all__ = [
    "DEFAULT_PROVIDER",
    "MODEL_NAMES",
    "REGISTRY",
    "Account",
    "Answer",
    "AuthHeader",
    "BatchList",
    "BatchState",
    "Block",
    "BlockKind",
    "CacheTtl",
    "CreateKind",
    "Encoder",
    "Ended",
    "Limits",
    "MediaLimits",
    "Message",
    "Mode",
    "NoListError",
    "NotSentError",
    "OutcomeKind",
    "Provider",
    "ProviderModule",
    "ProviderRules",
    "RateRoom",
    "RefusedError",
    "RuleProblem",
    "RungSettings",
    "SentSchema",
    "Shipment",
    "Turn",
    "UnavailableError",
    "UnknownOutcomeError",
    "UploadedFile",
    "WithoutLine",
    "get_provider_module",
]

REGISTRY: Mapping[str, str] = {
    "anthropic": "batchpipe.providers.anthropic",
    "gemini": "batchpipe.providers.gemini",
    "openai": "batchpipe.providers.openai",
}
DEFAULT_PROVIDER = "anthropic"
# How the names of each built-in provider's models begin, as a regular expression.
MODEL_NAMES: Mapping[str, str] = {
    "anthropic": "claude-",
    "gemini": "(models/)?(gemini|gemma|learnlm)-",
    "openai": "(ft:)?(gpt-|o[0-9])",
}


def get_provider_module(name: str, *, where: str = "provider") -> ProviderModule:
    """Import and return the module of provider `name`; this does not load its SDK.

    Raises PipelineError at `where` for a name that is not registered.
    """
    if name not in REGISTRY:
        near = nearest(name, REGISTRY)
        known = ", ".join(sorted(REGISTRY))
        hint = f"Did you mean `{near}`?" if near else f"Known providers: {known}."
        hint += f" If `{name}:` begins the model's name, write the provider before it: {DEFAULT_PROVIDER}:{name}:..."
        raise PipelineError(f"there is no provider `{name}`", where=where, hint=hint)
    return cast(ProviderModule, importlib.import_module(REGISTRY[name]))
