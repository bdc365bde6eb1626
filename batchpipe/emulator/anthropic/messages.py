"""The service's rules on `messages` and `system`, and the texts in them."""

from typing import Any

from batchpipe.emulator.answering.files import File, read_file
from batchpipe.emulator.answering.texts import Texts
from batchpipe.emulator.anthropic.params import NEW_VERSION, AnswerPlan, ParamsError, cache_ttl
from batchpipe.emulator.service.jsontypes import JsonObject, is_list, is_object, word_set

MAX_CACHE_BLOCKS = 4
_SOURCED = ("image", "document")
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_IMAGE_BYTES, _MOST_PIXELS, _MOST_FILES = 5_242_880, 8_000, 100
_BLOCKS = word_set(
    "text image document search_result thinking redacted_thinking tool_use tool_result server_tool_use "
    "web_search_tool_result web_fetch_tool_result code_execution_tool_result bash_code_execution_tool_result "
    "text_editor_code_execution_tool_result tool_search_tool_result container_upload"
)
_TEXT_KEYS = frozenset(("type", "text", "cache_control", "citations"))


def read_texts(params: JsonObject, plan: AnswerPlan) -> Texts:
    """Check `messages` and `system` and return their texts. Raises ParamsError with the provider's own message."""
    messages: Any = params["messages"]
    system: Any = params.get("system", "")
    if isinstance(system, str) and is_list(messages) and len(messages) == 1 and plan.cache_ttl is None:
        message = messages[0]
        if is_object(message) and len(message) == 2 and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str) and content and not content.isspace():
                return Texts(content, system, content)
    return _Reader(plan).read(messages, system)


def _own_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    own = ""
    for block in content:
        own = own or str(block.get("text", ""))
        if block.get("cache_control") is not None and block is not content[-1]:
            own = ""
    return own


class _Reader:
    def __init__(self, plan: AnswerPlan) -> None:
        self.plan = plan
        self.seen: list[str] = []
        self.marks: list[tuple[int, str]] = []
        self.files: list[File] = []

    def read(self, messages: object, system: object) -> Texts:
        system_text = "" if system == "" else self.content("system", system, "system")
        if not is_list(messages):
            raise ParamsError("messages: Input should be a valid list")
        if not messages:
            raise ParamsError("messages: at least one message is required")
        texts: list[tuple[str, str]] = []
        for place, message in enumerate(messages):
            texts.append(self.message(place, message, place == len(messages) - 1))
        self.prefill(texts)
        if self.plan.cache_ttl is not None:
            self.marks.append((len(self.seen), self.plan.cache_ttl))
        if len(self.marks) > MAX_CACHE_BLOCKS:
            raise ParamsError(
                f"A maximum of {MAX_CACHE_BLOCKS} blocks with cache_control may be provided. Found {len(self.marks)}."
            )
        user = [text for role, text in texts if role != "assistant"]
        other = "\n".join([system_text, *user[:-1]])
        last = user[-1] if user else ""
        own = _own_text(next((each for each in reversed(messages) if each["role"] == "user"), messages[0])["content"])
        own += "".join(each.text for each in self.files)
        if not self.marks:
            return Texts(last, other, own, files=tuple(self.files))
        until, ttl = self.marks[-1]
        return Texts(last, other, own, "\n".join(self.seen[:until]), ttl, tuple(self.files))

    def message(self, place: int, message: object, final: bool) -> tuple[str, str]:
        here = f"messages.{place}"
        if not is_object(message):
            raise ParamsError(f"{here}: Input should be a valid dictionary")
        role = message.get("role")
        if role not in ("user", "assistant", "system"):
            raise ParamsError(f"{here}.role: Input should be 'user', 'assistant' or 'system'")
        for name in message:
            if name not in ("role", "content"):
                raise ParamsError(f"{here}.{name}: Extra inputs are not permitted")
        if "content" not in message:
            raise ParamsError(f"{here}.content: Field required")
        content = message["content"]
        if content in ("", []) and not (final and role == "assistant"):
            raise ParamsError(f"{here}: {role} messages must have non-empty content")
        return str(role), self.content(f"{here}.content", content, str(role))

    def prefill(self, texts: list[tuple[str, str]]) -> None:
        role, text = texts[-1]
        if role != "assistant":
            return
        if not self.plan.model.takes_prefill:
            raise ParamsError(
                "This model does not support assistant message prefill. The conversation must end with a user message."
            )
        if text != text.rstrip():
            raise ParamsError("messages: final assistant content cannot end with trailing whitespace")

    def content(self, here: str, content: object, role: str) -> str:
        if isinstance(content, str):
            if content.isspace():
                raise ParamsError("messages: text content blocks must contain non-whitespace text")
            self.seen.append(content)
            return content
        if not is_list(content):
            raise ParamsError(f"{here}: Input should be a valid string or list of content blocks")
        return "\n".join(self.block(f"{here}.{place}", block, role) for place, block in enumerate(content))

    def block(self, here: str, block: object, role: str) -> str:
        if not is_object(block):
            raise ParamsError(f"{here}: Input should be a valid dictionary")
        kind = block.get("type")
        if not isinstance(kind, str) or kind not in (("text",) if role == "system" else _BLOCKS):
            raise ParamsError(f"{here}: Input tag '{kind}' does not match any of the expected tags")
        text = self.text_block(here, block, role) if kind == "text" else self.other_block(here, block, role)
        self.seen.append(text)
        ttl = cache_ttl(f"{here}.{kind}.cache_control", block.get("cache_control"))
        if ttl is not None:
            self.marks.append((len(self.seen), ttl))
        return text

    def text_block(self, here: str, block: JsonObject, role: str) -> str:
        for name in block:
            if name not in _TEXT_KEYS:
                raise ParamsError(f"{here}.text.{name}: Extra inputs are not permitted")
        text = block.get("text")
        if not isinstance(text, str):
            raise ParamsError(f"{here}.text.text: Field required")
        if not text:
            raise ParamsError("messages: text content blocks must be non-empty")
        if text.isspace():
            raise ParamsError("messages: text content blocks must contain non-whitespace text")
        if role == "user" and block.get("citations") and self.plan.version == NEW_VERSION:
            raise ParamsError(f"{here}.text.citations: citations are not permitted in user messages")
        return text

    def sourced(self, here: str, source: object, kind: str) -> str:
        """Return what stands for a picture or a document."""
        if not is_object(source):
            raise ParamsError(f"{here}: Field required")
        form = source.get("type")
        if form == "url" and isinstance(source.get("url"), str):
            return f"[{kind} {source['url']}]"
        if form == "text" and kind == "document" and isinstance(source.get("data"), str):
            return str(source["data"])
        if form == "file" and isinstance(source.get("file_id"), str):
            raise ParamsError(f"{here}: File not found: {source['file_id']}", "not_found_error")
        if form != "base64":
            raise ParamsError(f"{here}: Input tag '{form}' does not match any of the expected tags")
        media_type = source.get("media_type")
        if media_type not in (_IMAGES if kind == "image" else ("application/pdf",)):
            raise ParamsError(f"{here}.base64.media_type: Input should be {', '.join(map(repr, _IMAGES))}")
        found = read_file(source.get("data"), str(media_type))
        if found is None:
            raise ParamsError(f"{here}.base64: the {kind} was specified as {media_type}, and is no valid one")
        if kind == "image" and found.size > _IMAGE_BYTES:
            raise ParamsError(f"{here}.base64: image exceeds 5 MB maximum: {found.size} bytes > {_IMAGE_BYTES} bytes")
        if max(found.width, found.height) > _MOST_PIXELS:
            raise ParamsError(f"{here}.base64.data: At least one of the image dimensions exceed max allowed size: 8000")
        self.files.append(found)
        if len(self.files) > _MOST_FILES:
            raise ParamsError("Too many images and documents: 100 is the most")
        return found.text

    def other_block(self, here: str, block: JsonObject, role: str) -> str:
        kind = block["type"]
        if kind == "document" and role == "assistant" and self.plan.version == NEW_VERSION:
            raise ParamsError(f"{here}: document blocks are not permitted in assistant messages")
        if kind in _SOURCED:
            return self.sourced(f"{here}.{kind}.source", block.get("source"), str(kind))
        if kind == "tool_result":
            if not isinstance(block.get("tool_use_id"), str):
                raise ParamsError(f"{here}.tool_result.tool_use_id: Field required")
            content = block.get("content", "")
            return content if isinstance(content, str) else self.content(f"{here}.content", content, "user")
        return ""
