"""What the conformance suite knows of each protocol, and a provider of it that talks to the emulator."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import httpx2
import orjson

from batchpipe.emulator import Emulator
from batchpipe.providers import BatchState, Message, Provider, RungSettings, Shipment, get_provider_module

KEY = "sk-secret-of-the-suite"
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["billing", "bug"]}, "score": {"type": "number"}},
    "required": ["label", "score"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """One protocol of the suite.

    `late_codes`: the kind of late refusal that each code of a failed batch is; empty where batches cannot fail late.
    `too_many`: the kind of refusal that a create with the status 429 is. `strange_end`: what a request is whose end is
    not known: an answer where its text is there. `odd_lines` are edits of results, and `odd_replies` changes of a
    realtime reply, each of which leaves a whole answer, which was paid for, beside a status that says something else.
    """

    protocol: str
    model: str
    endpoint: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    late_codes: Mapping[str, str] = field(default_factory=dict)
    too_many: str = "rate_limit"
    strange_end: str = "unknown"
    odd_lines: Sequence[tuple[str, str]] = ()
    odd_replies: Sequence[Mapping[str, Any]] = ()

    @property
    def name(self) -> str:
        return self.protocol if self.endpoint is None else f"{self.protocol} {self.endpoint}"


OPENAI_STATUSES = tuple(('"status_code":200', f'"status_code":{each}') for each in ("0", "203", "302", "500", "null"))
RESPONSE_STATES = ("failed", "cancelled", "queued", "in_progress", "brand_new")
GEMINI_ENDS = ('"OTHER"', '"IMAGE_OTHER"', '"MALFORMED_RESPONSE"', '"BRAND_NEW"', "null")

PROTOCOLS = (
    Spoken(
        protocol="anthropic",
        model="claude-haiku-4-5",
        odd_lines=(
            *(('"type":"succeeded"', f'"type":{each}') for each in ('"errored"', '"expired"', '"brand_new"', "null")),
            *(
                ('"stop_reason":"end_turn"', f'"stop_reason":{each}')
                for each in ('"brand_new"', '"pause_turn"', "null")
            ),
        ),
        odd_replies=tuple({"stop_reason": each} for each in ("brand_new", "pause_turn", None)),
    ),
    Spoken(
        protocol="openai",
        model="gpt-6-luna",
        late_codes={
            "token_limit_exceeded": "queue_full",
            "invalid_json_line": "invalid",
            "billing_hard_limit_reached": "account",
            "never_heard_of": "invalid",
        },
        odd_lines=(
            *OPENAI_STATUSES,
            *(('"status":"completed","background"', f'"status":"{each}","background"') for each in RESPONSE_STATES),
        ),
        odd_replies=tuple({"status": each} for each in RESPONSE_STATES),
    ),
    Spoken(
        protocol="openai",
        model="gpt-5.4",
        endpoint="/v1/chat/completions",
        strange_end="answered",
        odd_lines=(*OPENAI_STATUSES, ('"finish_reason":"stop"', '"finish_reason":"brand_new"')),
        odd_replies=tuple({"choices.*.finish_reason": each} for each in ("brand_new", None)),
    ),
    Spoken(
        protocol="gemini",
        model="gemini-3.8-flash",
        late_codes={
            "RESOURCE_EXHAUSTED": "queue_full",
            "INVALID_ARGUMENT": "invalid",
            "PERMISSION_DENIED": "account",
            "NOT_FOUND": "not_found",
        },
        too_many="queue_full",
        odd_lines=tuple(('"finishReason":"STOP"', f'"finishReason":{each}') for each in GEMINI_ENDS),
        odd_replies=tuple({"candidates.*.finishReason": orjson.loads(each)} for each in GEMINI_ENDS),
    ),
)


class Desk:
    """A provider of one protocol at an emulator, and the means to tell the emulator what goes wrong."""

    def __init__(self, spoken: Spoken, emulator: Emulator, folder: Path) -> None:
        self.spoken = spoken
        self.base_url = emulator.base_url
        self.folder = folder
        self.provider = self.bound()
        self.rung = RungSettings(model=spoken.model, max_tokens=2000, settings=dict(spoken.settings))
        self.http = httpx2.Client(base_url=emulator.base_url)
        self._made = 0

    def bound(self, base_url: str | None = None, key: str = KEY) -> Provider:
        module = get_provider_module(self.spoken.protocol)
        return module.provider(
            {module.KEY_VARIABLE: key},
            base_url=base_url or self.base_url,
            timeout_seconds=10,
            endpoint=self.spoken.endpoint,
        )

    def control(self, path: str, asked: Any) -> Any:
        reply = self.http.post(f"/emulator/{path}", json=asked)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def faults(self, *calls: Mapping[str, Any], **rules: Any) -> None:
        self.control("faults", {"calls": list(calls), **rules})

    def params(self, text: str) -> bytes:
        sent = self.provider.schema(SCHEMA).schema
        encoder = self.provider.encoder(self.rung, output_format="json_schema", sent_schema=sent)
        return encoder(Message("You sort tickets.", text), max_tokens=self.rung.max_tokens)

    def shipment(self, count: int = 4) -> tuple[bytes, Shipment]:
        """Return the body of a batch with requests id-0, id-1, ..., and its shipment, whose label is new."""
        self._made += 1
        label = f"suite-{self.spoken.protocol}-{self._made}"
        body = self.provider.assemble((f"id-{each}", self.params(f"Row <{each}>")) for each in range(count))
        headers = self.provider.batch_headers(self.rung)
        return body, Shipment(label=label, rung=self.rung, count=count, headers=headers)

    def submit(self, count: int = 4, *, timeout_seconds: float = 10, by: Provider | None = None) -> BatchState:
        return self.submitted(*self.shipment(count), timeout_seconds=timeout_seconds, by=by)

    def submitted(
        self, body: bytes, shipment: Shipment, *, timeout_seconds: float = 10, by: Provider | None = None
    ) -> BatchState:
        provider = by or self.provider
        input_id = provider.upload(body, shipment, timeout_seconds=10)
        return provider.submit(body, shipment, input_id=input_id, timeout_seconds=timeout_seconds)

    def ended(self, batch_id: str) -> BatchState:
        """Look twice, after which a batch has ended."""
        self.provider.poll(batch_id)
        return self.provider.poll(batch_id)

    def lines(self, batch_id: str) -> dict[str | None, dict[str, Any]]:
        """Return the lines of a batch's results, by custom id, as the protocol's own SQL reads them."""
        path = self.folder / f"{self._made}.jsonl"
        self.provider.collect(batch_id, path)
        return self.read(path)

    def read(self, path: Path) -> dict[str | None, dict[str, Any]]:
        """Return the lines of a file; as text where not all of it is understood, as the engine reads them."""
        found = self._read(path, text=False)
        if any(line["oddity"] is not None for line in found):
            mended = path.with_suffix(".mended")
            with path.open("rb") as source, mended.open("wb") as target:
                target.writelines(self.provider.mended_lines(source, exact_inputs=False))
            found = self._read(mended, text=True)
        return {line["custom_id"]: line for line in found}

    def _read(self, path: Path, *, text: bool) -> list[dict[str, Any]]:
        with duckdb.connect() as connection:
            given = {"paths": [str(path)], "maximum_object_size": 1 << 24}
            cursor = connection.execute(str(self.provider.lines_sql(text=text)), given)
            names = [each[0] for each in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def log(self) -> Any:
        return json.loads(self.http.get("/emulator/log?requests=0").text)
