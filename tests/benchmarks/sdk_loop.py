"""What one would write with the SDK: dicts, `batches.create`, a poll, a loop over the results, rows inserted.

`sdk_loop.py BASE_URL ROWS_FILE OUTPUT_FILE CHUNK`
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import anthropic
import duckdb

from .task import MODEL, SCHEMA, USER


def main(base_url: str, rows_file: str, output_file: str, chunk: int) -> None:
    client = anthropic.Anthropic(api_key="sk-benchmark", base_url=base_url)
    database = duckdb.connect(output_file)
    database.execute("CREATE TABLE answers (id BIGINT, label VARCHAR, score DOUBLE)")
    rows = database.execute("SELECT id, body FROM read_parquet(?)", [rows_file]).fetchall()
    for start in range(0, len(rows), chunk):
        requests: list[Any] = [
            {
                "custom_id": str(id),
                "params": {
                    "model": MODEL,
                    "max_tokens": 200,
                    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
                    "messages": [{"role": "user", "content": USER.replace("{{ body }}", body)}],
                },
            }
            for id, body in rows[start : start + chunk]
        ]
        batch = client.messages.batches.create(requests=requests)
        while client.messages.batches.retrieve(batch.id).processing_status != "ended":
            time.sleep(0.2)
        answers = []
        for line in client.messages.batches.results(batch.id):
            if line.result.type == "succeeded" and line.result.message.content[0].type == "text":
                answer = json.loads(line.result.message.content[0].text)
                answers.append((int(line.custom_id), answer["label"], answer["score"]))
        database.executemany("INSERT INTO answers VALUES (?, ?, ?)", answers)
    database.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
