"""The provider's own SDK as an oracle: it takes what we send and what the emulator answers, and works against it.

It is no part of the tests' requirements, since it brings 85 MB along:
`pip install google-genai && pytest tests/providers/gemini/test_gemini_sdk.py`.
"""

from __future__ import annotations

import importlib
import io
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from batchpipe.emulator import Emulator
from batchpipe.providers import Message, RungSettings
from batchpipe.providers.gemini import RULES, provider
from batchpipe.providers.gemini.models import listed_models, model_data

pytest.importorskip("google.genai", reason="the SDK google-genai is not installed")

SCHEMA = {"type": "object", "properties": {"label": {"type": "string", "enum": ["a", "b"]}}, "required": ["label"]}
SETTINGS: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "stop_sequences": ["END"],
    "seed": 7,
    "media_resolution": "low",
    "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}],
}
OUTCOMES = ("refused", "refused_midway", "truncated", "pause_turn", "empty_content", "split_text", "invalid_json")


@pytest.fixture(scope="module")
def types() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("google.genai.types")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("sdk")) as found:
        yield found


@pytest.fixture
def client(emulator: Emulator, types: Any) -> Iterator[Any]:
    genai = importlib.import_module("google.genai")
    options = types.HttpOptions(base_url=emulator.base_url, api_version="v1beta")
    with genai.Client(api_key="test-key", http_options=options) as found:
        yield found


def request(output_format: str = "json_schema", **settings: Any) -> dict[str, Any]:
    rung = RungSettings(model="gemini-3.8-flash", max_tokens=200, settings=settings)
    encoder = RULES.encoder(rung, output_format=output_format, sent_schema=SCHEMA)
    (line,) = RULES.assemble([("a", encoder(Message("You sort.", "Hello", "No."), max_tokens=200))]).splitlines()
    return dict(json.loads(line)["request"])


@pytest.mark.parametrize("output_format", ["json_schema", "tool", "json", "text"])
@pytest.mark.parametrize("thinking", [{"effort": "low"}, {"thinking_budget": 512}, {}])
def test_the_types_take_every_request(types: Any, output_format: str, thinking: dict[str, Any]) -> None:
    found = request(output_format, **SETTINGS, **thinking)
    for content in (*found.pop("contents"), found.pop("systemInstruction")):
        types.Content.model_validate(content)
    types.GenerationConfig.model_validate(found.pop("generationConfig"))
    for setting in found.pop("safetySettings"):
        types.SafetySetting.model_validate(setting)
    for tool in found.pop("tools", []):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(found.pop("toolConfig", {}))
    assert found == {}


def test_every_word_of_the_types_is_known(types: Any) -> None:
    known = {word for words in model_data()["finish"].values() for word in words}
    assert {each.value for each in types.FinishReason} - {"FINISH_REASON_UNSPECIFIED"} == known
    levels = {each.value.lower() for each in types.ThinkingLevel}
    assert {level for model in listed_models() for level in _levels(model)} <= levels


def _levels(model: str) -> list[str]:
    generations = model_data()["generations"]
    return [level for each in generations if model in each["models"] for level in each.get("thinking_levels", [])]


def test_the_types_take_every_answer_of_the_emulator(types: Any, emulator: Emulator, client: Any) -> None:
    calls = provider({"GEMINI_API_KEY": "test-key"}, base_url=emulator.base_url)
    encoder = RULES.encoder(
        RungSettings(model="gemini-3.8-flash", max_tokens=200), output_format="json_schema", sent_schema=SCHEMA
    )
    rules = {"requests": [{"match": each, "outcome": each} for each in OUTCOMES]}
    httpx2.post(f"{emulator.base_url}/emulator/faults", json=rules)
    for outcome in OUTCOMES:
        params = encoder(Message(None, outcome), max_tokens=200)
        line = json.loads(calls.answer("a", params, headers={}, timeout_seconds=10).line)
        types.GenerateContentResponse.model_validate(line["response"])
    httpx2.post(f"{emulator.base_url}/emulator/faults", json={})


def test_the_sdk_makes_batches_at_the_emulator(types: Any, client: Any, tmp_path: Path) -> None:
    lines = [{"key": f"id-{number}", "request": request()} for number in range(3)]
    body = io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode())
    config = types.UploadFileConfig(display_name="lines", mime_type="application/jsonl", name="files/of-the-sdk")
    file = client.files.upload(file=body, config=config)
    assert (file.name, file.state.name) == ("files/of-the-sdk", "ACTIVE")
    made = client.batches.create(
        model="gemini-3.8-flash", src=file.name, config=types.CreateBatchJobConfig(display_name="label")
    )
    assert made.state.name == "JOB_STATE_PENDING"
    assert client.batches.get(name=made.name).state.name == "JOB_STATE_RUNNING"
    done = client.batches.get(name=made.name)
    assert (done.state.name, done.display_name, done.done) == ("JOB_STATE_SUCCEEDED", "label", True)
    results = client.files.download(file=done.dest.file_name).decode().splitlines()
    for line in map(json.loads, results):
        assert json.loads(types.GenerateContentResponse.model_validate(line["response"]).text)["label"] in ("a", "b")
    assert [each.name for each in client.batches.list()] == [made.name]
    client.batches.cancel(name=made.name)
    client.batches.delete(name=made.name)
    assert list(client.batches.list()) == []
    client.files.delete(name=file.name)


def test_the_sdk_asks_the_emulator_in_realtime(types: Any, client: Any) -> None:
    config = types.GenerateContentConfig(
        response_mime_type="application/json",
        response_json_schema=SCHEMA,
        max_output_tokens=300,
        thinking_config=types.ThinkingConfig(thinking_level="low"),
    )
    whole = client.models.generate_content(model="gemini-3.8-flash", contents="Hello", config=config)
    pieces = client.models.generate_content_stream(model="gemini-3.8-flash", contents="Hello", config=config)
    assert whole.text == "".join(each.text or "" for each in pieces)
    errors = importlib.import_module("google.genai.errors")
    with pytest.raises(errors.ClientError) as error:
        client.models.generate_content(model="gemini-0", contents="Hello")
    assert (error.value.code, error.value.status) == (404, "NOT_FOUND")
