"""The floor: the same rows through the same API in a straight line, with no state and no guarantee at all.

`floor.py BASE_URL ROWS_FILE OUTPUT_FILE CHUNK`: DuckDB read, Jinja, a hash, one POST per chunk, raw file, DuckDB
`read_json`, typed table.
"""

from __future__ import annotations

import hashlib
import http.client
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import jinja2
import orjson

from .task import MODEL, SCHEMA, USER

HEADERS = {"x-api-key": "sk-benchmark", "anthropic-version": "2026-10-21", "content-type": "application/json"}


def main(base_url: str, rows_file: str, output_file: str, chunk: int) -> None:
    place = urlsplit(base_url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port)

    def call(method: str, path: str, body: bytes | None = None) -> bytes:
        connection.request(method, path, body, HEADERS)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {data[:300]!r}")
        return data

    template = jinja2.Environment(autoescape=False).from_string(USER)
    schema = orjson.dumps({"format": {"type": "json_schema", "schema": SCHEMA}})
    database = duckdb.connect(output_file)
    cursor = database.cursor().execute("SELECT id, body FROM read_parquet(?)", [rows_file])
    batches = []
    while block := cursor.fetchmany(chunk):
        requests = []
        for id, body in block:
            text = template.render(id=id, body=body)
            name = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
            requests.append(
                b'{"custom_id":"%s-%d","params":{"model":"%s","max_tokens":200,"output_config":%s,'
                b'"messages":[{"role":"user","content":%s}]}}'
                % (name.encode(), id, MODEL.encode(), schema, orjson.dumps(text))
            )
        answer = call("POST", "/v1/messages/batches", b'{"requests":[' + b",".join(requests) + b"]}")
        batches.append(orjson.loads(answer)["id"])
    raw = Path(output_file).with_suffix(".jsonl")
    with raw.open("wb") as file:
        for batch in batches:
            while orjson.loads(call("GET", f"/v1/messages/batches/{batch}"))["processing_status"] != "ended":
                time.sleep(0.2)
            file.write(call("GET", f"/v1/messages/batches/{batch}/results"))
    database.execute(
        "CREATE TABLE answers AS SELECT split_part(custom_id, '-', 2)::BIGINT AS id, "
        "(result.message.content[1].text::JSON ->> 'label') AS label, "
        "(result.message.content[1].text::JSON ->> 'score')::DOUBLE AS score "
        "FROM read_json(?, columns = {custom_id: 'VARCHAR', result: "
        "'STRUCT(message STRUCT(content STRUCT(text VARCHAR)[]))'}, format = 'newline_delimited')",
        [str(raw)],
    )
    database.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
