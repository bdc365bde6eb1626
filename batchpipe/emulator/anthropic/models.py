"""The models of the emulated service: their limits, and the parameters that they take."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from batchpipe.emulator.service.errors import ApiError
from batchpipe.emulator.service.jsontypes import JsonObject

LONG_OUTPUT_BETA = "output-300k-2026-03-24"
LONG_OUTPUT_TOKENS = 300_000
EFFORT_LEVELS = ("low", "medium", "high", "xhigh", "max")

_ALIASES = {
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
    "claude-opus-4-5": "claude-opus-4-5-20251101",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
}


@dataclass(frozen=True, slots=True)
class Model:
    """One model; `generation` is (4, 6) for 4.6. Token limits are per request."""

    id: str
    line: str
    generation: tuple[int, int]
    created_at: str
    long_output: bool = False
    retires_at: str | None = None

    @property
    def context_tokens(self) -> int:
        return 1_000_000 if self.generation >= (4, 6) else 200_000

    @property
    def max_tokens(self) -> int:
        return 128_000 if self.generation >= (4, 6) else 64_000

    @property
    def cached_from_tokens(self) -> int:
        """The fewest tokens of a prefix that is cached."""
        if self.generation == (4, 5):
            return 1_024 if self.line == "sonnet" else 4_096
        if self.generation == (4, 6):
            return 2_048 if self.line == "sonnet" else 4_096
        return 2_048 if self.generation == (4, 7) or self.id == "claude-mythos-preview" else 1_024

    @property
    def takes_prefill(self) -> bool:
        return self.generation < (4, 6)

    @property
    def takes_sampling(self) -> bool:
        return self.generation < (4, 7)

    @property
    def takes_inference_geo(self) -> bool:
        return self.generation >= (4, 6)

    @property
    def takes_effort(self) -> bool:
        return self.generation >= (4, 6) or self.line == "opus"

    @property
    def thinking_types(self) -> frozenset[str]:
        kinds = {"enabled"} if self.generation < (4, 7) else set[str]()
        if self.generation >= (4, 6):
            kinds.add("adaptive")
        if self.line not in ("fable", "mythos") and self.id != "claude-opus-5-5":
            kinds.add("disabled")
            if self.generation >= (5, 0):
                kinds.add("between_tools")
        return frozenset(kinds)

    @property
    def thinks_by_default(self) -> bool:
        return self.generation >= (5, 0) or self.line == "mythos"

    @property
    def token_factor(self) -> float:
        """The tokens of a text, as a multiple of those that earlier models count."""
        return 1.3 if self.generation >= (4, 7) else 1.0


MODELS = (
    Model("claude-fable-5-2", "fable", (5, 2), "2026-11-10T00:00:00Z"),
    Model("claude-mythos-5-2", "mythos", (5, 2), "2026-11-10T00:00:00Z"),
    Model("claude-haiku-5-5", "haiku", (5, 5), "2026-10-21T00:00:00Z", long_output=True),
    Model("claude-sonnet-5-5", "sonnet", (5, 5), "2026-10-07T00:00:00Z"),
    Model("claude-fable-5-1", "fable", (5, 1), "2026-09-15T00:00:00Z"),
    Model("claude-opus-5-5", "opus", (5, 5), "2026-09-10T00:00:00Z"),
    Model("claude-mythos-5-1", "mythos", (5, 1), "2026-09-01T00:00:00Z"),
    Model("claude-sonnet-5", "sonnet", (5, 0), "2026-07-15T00:00:00Z", long_output=True),
    Model("claude-fable-5", "fable", (5, 0), "2026-06-09T00:00:00Z"),
    Model("claude-mythos-5", "mythos", (5, 0), "2026-06-09T00:00:00Z"),
    Model("claude-opus-5", "opus", (5, 0), "2026-06-01T00:00:00Z", long_output=True),
    Model("claude-opus-4-8", "opus", (4, 8), "2026-05-28T00:00:00Z", long_output=True),
    Model("claude-opus-4-7", "opus", (4, 7), "2026-04-16T00:00:00Z", long_output=True),
    Model("claude-mythos-preview", "mythos", (4, 8), "2026-04-07T00:00:00Z", retires_at="2026-06-30T00:00:00Z"),
    Model("claude-sonnet-4-6", "sonnet", (4, 6), "2026-02-17T00:00:00Z", long_output=True),
    Model("claude-opus-4-6", "opus", (4, 6), "2026-02-05T00:00:00Z", long_output=True),
    Model("claude-opus-4-5-20251101", "opus", (4, 5), "2025-11-24T00:00:00Z"),
    Model("claude-haiku-4-5-20251001", "haiku", (4, 5), "2025-10-15T00:00:00Z"),
    Model(
        "claude-sonnet-4-5-20250929",
        "sonnet",
        (4, 5),
        "2025-09-29T00:00:00Z",
        retires_at="2026-11-30T00:00:00Z",
    ),
)
_BY_ID = {model.id: model for model in MODELS}


def find_model(name: str) -> Model | None:
    """Return the model with this id or alias; None if the service does not know it."""
    return _BY_ID.get(_ALIASES.get(name, name))


def model_info(model: Model) -> JsonObject:
    """Return a model as the Models API shows it."""
    kinds = model.thinking_types
    yes, no = {"supported": True}, {"supported": False}
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.id.replace("-", " ").title(),
        "created_at": model.created_at,
        "lifecycle": "deprecated" if model.retires_at else "active",
        "deprecated_at": "2026-03-01T00:00:00Z" if model.retires_at else None,
        "retires_at": model.retires_at,
        "line": model.line,
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.max_tokens,
        "capabilities": {
            "batch": yes,
            "citations": yes,
            "code_execution": yes,
            "context_management": no,
            "effort": {
                "supported": model.takes_effort,
                **{level: {"supported": model.takes_effort} for level in EFFORT_LEVELS},
            },
            "image_input": yes,
            "pdf_input": yes,
            "server_tools": {"supported": True, "code_execution": yes, "web_search": yes},
            "structured_outputs": yes,
            "thinking": {
                "supported": True,
                "types": {
                    kind: {"supported": kind in kinds} for kind in ("adaptive", "between_tools", "disabled", "enabled")
                },
            },
        },
    }


def model_page(limit: int, after_id: str | None, before_id: str | None) -> JsonObject:
    """Return a page of the Models API, newest first."""
    ids = [model.id for model in MODELS]
    for cursor in (after_id, before_id):
        if cursor is not None and cursor not in ids:
            raise ApiError(404, f"model: {cursor}")
    chosen: Sequence[Model] = MODELS
    if after_id is not None:
        chosen = MODELS[ids.index(after_id) + 1 :]
    elif before_id is not None:
        chosen = MODELS[max(0, ids.index(before_id) - limit) : ids.index(before_id)]
    page = chosen[:limit]
    more = ids.index(page[0].id) > 0 if before_id is not None and page else len(chosen) > limit
    return {
        "data": [model_info(model) for model in page],
        "has_more": more,
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }


@cache
def names_of(model: Model) -> tuple[str, ...]:
    """Return the id of a model, and the short names that stand for it."""
    return (model.id, *(short for short, name in _ALIASES.items() if name == model.id))
