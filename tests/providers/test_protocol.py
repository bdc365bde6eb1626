"""Tests of all that is sent: the provider accepts bodies and ids for any key, and no batch is above its limits."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any, get_type_hints

import duckdb
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from anthropic.types.messages import BatchCreateParams
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import BASIC, Project, numbered
from pydantic import TypeAdapter

from batchpipe.decide.chunking import ENVELOPE_BYTES, REQUEST_OVERHEAD_BYTES, ChunkLimits, free_size, partition
from batchpipe.decide.verdict import CheckedOutcome, LadderPolicy, Standing, decide
from batchpipe.engine.plan.chunks import fit

CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
FORMATS = ("json_schema", "tool", "json", "text")
SECOND_RUNG = """
[[models]]
model = "claude-opus-4-8"
max_tokens = 3000
effort = "low"
thinking = "adaptive"
stop_sequences = ["END OF ANSWER"]
"""


def bodies(project: Project) -> Iterator[dict[str, Any]]:
    """Return every request that the emulator took: {"custom_id", "params"}."""
    for path in (project.root / ".emulator" / "bodies").glob("*.jsonl"):
        yield from map(json.loads, path.read_text().splitlines())


def of_format(output_format: str) -> str:
    text = BASIC.replace("[output.fields.label]", f'[output]\nformat = "{output_format}"\n[output.fields.label]')
    text = text.replace("[prompt]\n", '[prompt]\nsystem_text = "{{ lang }}: be brief — «é»."\n')
    text = text.replace("max_tokens = 200", 'max_tokens = 200\ntemperature = 0.5\naccept = "amount < 3"')
    if output_format == "text":
        head, _, rest = text.partition("[output.fields.label]")
        field = '[output.fields.text]\ntype = "string"\nminLength = 3\n[[models]]'
        text = head + field + rest.partition("[[models]]")[2]
    return text + SECOND_RUNG


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose runs sent every kind of request: formats, rungs, settings, retries, redos, raised max_tokens."""
    project = Project(tmp_path_factory.mktemp("sent"))
    rows = [{"id": n, "body": f'case:{n}; "quoted"\n\ttext \\ é 🙂', "lang": "en", "amount": n} for n in range(1, 7)]
    project.rows(rows)
    for output_format in FORMATS:
        project.pipeline(of_format(output_format), output_format)
    outcomes = [("empty_content", 1), ("truncated", 2), ("refused", 3), ("errored_api", 4), ("expired", 5)]
    project.faults({"requests": [{"match": f"case:{n};", "outcome": name, "times": 2} for name, n in outcomes]})
    for name, redo in [*((each, None) for each in FORMATS), ("tool", "all")]:
        result = project.run(name, redo=redo)
        assert result.rows["due"] == result.rows["pending"] == 0
        assert result.submitted >= 6
    yield project
    project.close()


def test_every_request_is_what_the_sdk_and_the_service_know(sent: Project) -> None:
    request_type: Any = get_type_hints(BatchCreateParams)["requests"]
    requests = list(bodies(sent))
    assert len(requests) == sent.requests_sent() > 40
    for request in requests:
        request["params"].pop("temperature", None)  # known to the older API version only
        assert set(request) == {"custom_id", "params"}
        assert set(request["params"]) <= set(get_type_hints(MessageCreateParamsNonStreaming))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        TypeAdapter(request_type).validate_python(requests)
        TypeAdapter(list[MessageCreateParamsNonStreaming]).validate_python([each["params"] for each in requests])
    kinds = {(each["params"]["model"], each["params"]["max_tokens"]) for each in requests}
    assert {("claude-haiku-4-5", 200), ("claude-haiku-4-5", 400), ("claude-opus-4-8", 3000)} <= kinds
    assert any(isinstance(each["params"]["messages"][0]["content"], list) for each in requests)


def test_the_service_refused_no_request_but_those_that_it_was_told_to(sent: Project) -> None:
    errors = [
        result["error"]["error"]
        for path in (sent.root / ".emulator" / "results").glob("*.jsonl")
        for result in (json.loads(line)["result"] for line in path.read_text().splitlines())
        if result["type"] == "errored"
    ]
    assert errors
    assert {each["message"] for each in errors} == {"Internal server error"}
    assert {each["status"] for each in sent.log()["calls"]} == {200}


def test_no_custom_id_is_used_twice(sent: Project) -> None:
    ids = [each["custom_id"] for each in bodies(sent)]
    assert len(ids) == len(set(ids))
    assert all(CUSTOM_ID.fullmatch(each) for each in ids)
    prefixes = {each.partition("-")[0] for each in ids}
    assert prefixes == {sent.sql("SELECT value FROM ledger.meta WHERE name = 'database'")[0][0]}
    leading = sent.sql("SELECT custom_id FROM ledger.requests WHERE leads")
    assert {each for (each,) in leading} == set(ids)
    assert sent.sql("SELECT count(*) FROM ledger.results") == [(len(ids),)]


KEYS = {
    "texts": "SELECT unnest(['', ' ', 'a', 'A', 'é', 'e\u0301', '日本語', '🙂', 'null', '[1]', '\"', '''', '\\', "
    "E'two\\nlines', E'tab\\t', 'a,b', '--', repeat('long', 2500), repeat('🙂', 10000)]) AS k",
    "integers": "SELECT unnest([0, 1, -1, 9223372036854775807, -9223372036854775808]::BIGINT[]) AS k",
    "days": "SELECT unnest([DATE '2026-01-01', DATE '0044-03-15 (BC)', DATE '9999-12-31']) AS k",
}
WIDE = {
    "k": ("VARCHAR", ["a", 'a","1', "b"]),
    "part": ("BIGINT", ["1", "1", "-1"]),
    "day": ("DATE", ["2026-01-01", "2026-01-01", "2026-01-02"]),
    "huge": ("HUGEINT", ["1", "170141183460469231731687303715884105727", "-1"]),
    "moment": ("TIMESTAMP WITH TIME ZONE", ["2026-01-01 00:00:00+02", "2026-06-01 12:00:00.000001Z"] * 2),
    "amount": ("DECIMAL(9,2)", ["0.10", "1.00", "-3.14"]),
    "uuid": ("UUID", ["0192f0c1-7000-7000-8000-000000000001"] * 3),
    "yes": ("BOOLEAN", ["true", "false", "true"]),
}  # fmt: skip
COMPOSITE = " UNION ALL ".join(
    "SELECT " + ", ".join(f"'{values[row]}'::{kind} AS {name}" for name, (kind, values) in WIDE.items())
    for row in range(3)
)


def keyed(project: Project, name: str, query: str, key: str) -> None:
    (project.root / f"{name}.sql").write_text(query, encoding="utf-8")
    prompt = BASIC[BASIC.index("[prompt]") :].replace(
        "{{ body }}{% if lang == 'de' %} Auf Deutsch.{% endif %}", "{{ k }}!"
    )
    project.pipeline(f'[input]\nquery_file = "{name}.sql"\nkey = {key}\n{prompt}', name)


def test_any_key_is_a_key(project: Project) -> None:
    for name, query in KEYS.items():
        keyed(project, name, query, '"k"')
    keyed(project, "composite", COMPOSITE, json.dumps(list(WIDE)))
    names = [*KEYS, "composite"]
    for outcome in project.outcomes(names):
        assert (outcome.error, outcome.result.status) == (None, "done")
        assert outcome.result.rows["accepted"] == outcome.result.rows["input"] > 0
    columns = {name: ["k"] for name in KEYS} | {"composite": list(WIDE)}
    for name, query in {**KEYS, "composite": COMPOSITE}.items():
        shown = ", ".join(f"typeof({each}), {each}::VARCHAR" for each in columns[name])
        wanted = duckdb.execute(f"SELECT {shown} FROM ({query}) ORDER BY ALL").fetchall()
        assert project.sql(f"SELECT {shown} FROM {name} ORDER BY ALL") == wanted
    ids = [each["custom_id"] for each in bodies(project)]
    assert len(ids) == len(set(ids)) == sum(project.sql(f"SELECT count(*) FROM {name}")[0][0] for name in names)
    assert all(CUSTOM_ID.fullmatch(each) for each in ids)
    assert [outcome.result.submitted for outcome in project.outcomes(names)] == [0] * len(names)


def test_batches_keep_every_limit_and_never_mix_groups(project: Project) -> None:
    chunking = "[chunking]\nmax_requests = 7\nmax_in_flight = 3\nmax_queued = 15\ngroup_by = ['lang']\n"
    project.pipeline(BASIC.replace("{{ body }}", "{{ lang }}|{{ body }}") + chunking)
    rows = numbered(40, german=17)
    for row in rows[30:]:
        row["body"] = "the same"
    project.rows(rows)
    project.faults({"max_queued": 15, "max_requests": 7})
    assert project.run().status == "done"
    posted = [each["status"] for each in project.log()["calls"] if each["path"] == "/v1/messages/batches"]
    assert set(posted) == {200}
    contents: list[str] = []
    for path in (project.root / ".emulator" / "bodies").glob("*.jsonl"):
        texts = [json.loads(line)["params"]["messages"][0]["content"] for line in path.read_text().splitlines()]
        assert len(texts) <= 7
        assert len({text.partition("|")[0] for text in texts}) == 1
        contents += texts
    assert len(contents) == len(set(contents)) == 31  # identical requests are sent once
    assert project.sql("SELECT count(*), count(DISTINCT _custom_id) FROM demo") == [(40, 31)]
    overlaps = project.sql(
        "SELECT count(*), sum(b.requests), count(*) FILTER (b.requests > 1), "
        "count(DISTINCT b.requests) FILTER (b.requests > 1) "
        "FROM ledger.batches a JOIN ledger.batches b "
        "ON b.prepared_at <= a.prepared_at AND b.collected_at > a.prepared_at "
        "GROUP BY a.chunk_id"
    )
    assert len(overlaps) == len(posted) >= 6
    assert max(open_batches for open_batches, *_ in overlaps) == 3
    assert max(requests for _, requests, *_ in overlaps) <= 15
    assert all(larger == sizes for *_, larger, sizes in overlaps)


def test_batches_keep_their_bytes(project: Project) -> None:
    project.pipeline(BASIC + "[chunking]\nmax_bytes = 1500\n")
    rows = numbered(12)
    rows[5]["body"] = "long " * 1000  # more than the limit: it travels alone
    project.rows(rows)
    project.faults({"max_bytes": 6000})
    assert project.run().status == "done"
    paths = list((project.root / ".emulator" / "bodies").glob("*.jsonl"))
    sizes = sorted((path.stat().st_size, len(path.read_text().splitlines())) for path in paths)
    assert all(size <= 1500 for size, _ in sizes[:-1])
    assert sizes[-1][0] > 1500
    assert sizes[-1][1] == 1
    assert sum(count for _, count in sizes) == 12
    assert len(sizes) >= 4


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Return a connection with the database of the working tables, for all examples."""
    with duckdb.connect() as made:
        made.execute("ATTACH ':memory:' AS work")
        yield made


@settings(max_examples=300, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 400), st.integers(0, 3)), max_size=120),
    max_requests=st.integers(1, 30), max_bytes=st.integers(200, 3000), max_in_flight=st.integers(1, 5),
)  # fmt: skip
def test_chunks_take_every_request_once_within_their_limits(
    connection: duckdb.DuckDBPyConnection,
    sizes: list[tuple[int, int]],
    max_requests: int,
    max_bytes: int,
    max_in_flight: int,
) -> None:
    sizes.sort(key=lambda each: each[1])
    limits = ChunkLimits(max_requests=max_requests, max_bytes=max_bytes, max_in_flight=max_in_flight)
    numbered_sizes = [[*range(len(sizes))], [size for size, _ in sizes], [group for _, group in sizes]]
    columns = (
        "unnest($1::INT[]) AS number, unnest($2::INT[]) AS bytes, bytes AS line_bytes, unnest($3::INT[]) AS grouping"
    )
    connection.execute(f"CREATE OR REPLACE TABLE work.to_send AS SELECT {columns}", numbered_sizes)
    chunks = list(partition(partial(fit, connection), limits, total=len(sizes)))
    assert [n for chunk in chunks for n in range(chunk.start, chunk.start + chunk.count)] == list(range(len(sizes)))
    for chunk in chunks:
        requests = sizes[chunk.start : chunk.start + chunk.count]
        assert 1 <= chunk.count <= max_requests
        assert len({group for _, group in requests}) == 1
        total = ENVELOPE_BYTES + sum(size + REQUEST_OVERHEAD_BYTES for size, _ in requests)
        assert chunk.bytes == total
        assert total <= max_bytes or chunk.count == 1
    for place in range(len(chunks)):
        neighbours = [chunk.count for chunk in chunks[place : place + max_in_flight] if chunk.count > 1]
        assert len(neighbours) == len(set(neighbours))


@given(st.integers(1, 50), st.sets(st.integers(1, 50)))
def test_a_free_size_is_the_largest_that_no_open_chunk_has(count: int, taken: set[int]) -> None:
    found = free_size(count, taken)
    assert 1 <= found <= count
    assert found == 1 or found not in taken
    assert all(each in taken for each in range(found + 1, count + 1))


JUDGED: list[CheckedOutcome] = [
    "accepted", "unaccepted", "invalid", "truncated", "context_window", "refused", "expired", "transient", "missing",
    "unknown", "permanent",
]  # fmt: skip
TRANSIENT = {"expired", "transient", "missing"}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(JUDGED), min_size=27, max_size=27), st.integers(1, 3), st.integers(1, 3),
    st.lists(st.tuples(st.integers(1, 500), st.none() | st.integers(1, 2000)), min_size=1, max_size=3), st.data(),
)  # fmt: skip
def test_the_ladder_ends_keeps_every_valid_answer_and_bounds_its_attempts(
    results: list[CheckedOutcome],
    attempts: int,
    transient: int,
    rungs: list[tuple[int, int | None]],
    data: st.DataObject,
) -> None:
    rooms, caps = tuple(room for room, _ in rungs), tuple(cap for _, cap in rungs)
    ladder = LadderPolicy(attempts=attempts, transient=transient, max_tokens=rooms, caps=caps)
    mask = data.draw(st.integers(1, 2 ** len(rungs) - 1))
    first = ladder.next_rung(0, mask)
    assert first is not None
    standing = Standing(
        rung=first, attempt=1, transients=0, max_tokens=rooms[first - 1], rungs=mask, has_earlier_answer=False
    )
    valid, in_a_row = 0, 0
    for sends, judged in enumerate(results, start=1):
        assert sends <= len(rungs) * attempts * transient
        assert mask >> (standing.rung - 1) & 1
        assert 1 <= standing.attempt <= attempts
        valid += judged in ("accepted", "unaccepted")
        in_a_row = in_a_row + 1 if judged in TRANSIENT else int(judged == "unknown")
        verdict = decide(judged, standing, ladder)
        if verdict.state in ("accepted", "failed"):
            assert (verdict.state == "accepted") == (valid > 0)
            assert verdict.review == (judged != "accepted" and valid > 0)
            assert verdict.answer == (
                "none" if not valid else "this" if judged in ("accepted", "unaccepted") else "earlier"
            )
            assert judged != "permanent" or verdict.answer != "this"
            return
        if verdict.state == "retry":
            assert verdict.rung == standing.rung
            assert (verdict.pause_doublings is not None) == (judged in TRANSIENT)
            assert judged not in TRANSIENT or in_a_row < transient
            assert [judged, *reversed(results[: sends - 1])][:2] != ["unknown", "unknown"]  # once more, and no oftener
            assert verdict.max_tokens is not None
            assert verdict.max_tokens > standing.max_tokens if judged == "truncated" else True
            assert verdict.attempts == standing.attempt - (judged in TRANSIENT)
            standing = Standing(
                rung=verdict.rung, attempt=verdict.attempts + 1, transients=verdict.transients,
                max_tokens=verdict.max_tokens, rungs=mask, has_earlier_answer=standing.has_earlier_answer,
            )  # fmt: skip
        else:
            assert verdict.rung > standing.rung
            assert (verdict.answer != "none") == (valid > 0)
            standing = Standing(
                rung=verdict.rung, attempt=1, transients=0, max_tokens=rooms[verdict.rung - 1], rungs=mask,
                has_earlier_answer=verdict.answer != "none",
            )  # fmt: skip
            in_a_row = 0
    pytest.fail("the ladder did not end")
