"""Tests of the emulator's state, which processes share and which survives a restart and SIGKILL."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.emulator_desk import HEADERS, Desk, params, request, structured

from batchpipe.emulator import Emulator, EmulatorError

SERVE = """
import sys, time
from pathlib import Path
from batchpipe.emulator import Emulator
with Emulator(Path(sys.argv[1])) as emulator:
    print(emulator.base_url, flush=True)
    time.sleep(60)
"""


def serve(folder: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def post(url: str, body: bytes) -> dict[str, Any]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    try:
        connection.request("POST", "/v1/messages/batches", body, HEADERS)
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()


def test_batches_outlive_the_emulator(tmp_path: Path) -> None:
    with Desk(tmp_path) as desk:
        batch = desk.create(params("one"), params("two"))
        desk.sdk.messages.batches.retrieve(batch.id)
        desk.advance(100)
    with Desk(tmp_path) as desk:
        ended = desk.sdk.messages.batches.retrieve(batch.id)
        assert ended.processing_status == "ended"
        assert (ended.ended_at - ended.created_at).total_seconds() > 99  # type: ignore[operator]
        before = desk.raw_lines(batch.id)
    with Desk(tmp_path) as desk:
        assert desk.raw_lines(batch.id) == before
        assert [call["method"] for call in desk.log()["calls"]][:2] == ["POST", "GET"]


def test_two_emulators_on_one_folder(tmp_path: Path) -> None:
    with Desk(tmp_path) as one, Desk(tmp_path) as two:
        batch = one.create(params())
        assert two.sdk.messages.batches.retrieve(batch.id).processing_status == "in_progress"
        assert one.sdk.messages.batches.retrieve(batch.id).processing_status == "ended"
        assert two.raw_lines(batch.id) == one.raw_lines(batch.id)
        two.faults(calls=[{"call": "list", "fault": "status:500"}])
        assert one.http("GET", "/v1/messages/batches")[0] == 500
        assert two.http("GET", "/v1/messages/batches")[0] == 200


def test_many_threads_and_two_processes(tmp_path: Path) -> None:
    process, url = serve(tmp_path)
    try:
        with Desk(tmp_path) as desk:
            body = json.dumps({"requests": [request("r", params())]}).encode()
            made: list[str] = []

            def submit(target: str) -> None:
                for _ in range(5):
                    made.append(post(target, body)["id"])

            threads = [threading.Thread(target=submit, args=(target,)) for target in (url, desk.emulator.base_url) * 3]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(set(made)) == 30
            listed = [batch.id for batch in desk.sdk.messages.batches.list(limit=7)]
            assert sorted(listed) == sorted(made)
            assert len(desk.log()["batches"]) == 30
    finally:
        kill(process)


def test_two_looks_at_once_end_a_batch_once(tmp_path: Path) -> None:
    with Desk(tmp_path) as one, Desk(tmp_path) as two:
        one.faults(requests=[{"outcome": "invalid_json", "times": 1}])
        batch = one.create(*[structured(f"row {place}") for place in range(300)])
        one.sdk.messages.batches.retrieve(batch.id)
        ended: list[str] = []

        def look(desk: Desk) -> None:
            ended.append(desk.sdk.messages.batches.retrieve(batch.id).processing_status)

        threads = [threading.Thread(target=look, args=(desk,)) for desk in (one, two) * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ended == ["ended"] * 6
        lines = one.raw_lines(batch.id)
        assert len({line["custom_id"] for line in lines}) == len(lines) == 300
        texts = [line["result"]["message"]["content"][0]["text"] for line in lines]
        assert not any(text.endswith("}") for text in texts)


def test_killed_in_the_middle_of_a_post(tmp_path: Path) -> None:
    process, url = serve(tmp_path)
    kept = post(url, json.dumps({"requests": [request("kept", params())]}).encode())["id"]
    body = json.dumps({"requests": [request(f"r{place}", params("x" * 500)) for place in range(4000)]}).encode()
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.putrequest("POST", "/v1/messages/batches")
    for name, value in {**HEADERS, "content-length": str(len(body))}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(body[: len(body) // 2])
    time.sleep(0.1)
    kill(process)
    connection.close()
    with Desk(tmp_path) as desk:
        assert [batch.id for batch in desk.sdk.messages.batches.list().data] == [kept]
        assert desk.end(kept).request_counts.succeeded == 1


@pytest.mark.parametrize("milliseconds", [5, 20, 40, 80, 160])
def test_killed_at_any_moment_of_a_create(tmp_path: Path, milliseconds: int) -> None:
    process, url = serve(tmp_path)
    body = json.dumps({"requests": [request(f"r{place}", params("x" * 300)) for place in range(2000)]}).encode()
    answered: list[str] = []

    def submit() -> None:
        try:
            while True:
                answered.append(post(url, body)["id"])
        except (OSError, http.client.HTTPException):
            return

    thread = threading.Thread(target=submit)
    thread.start()
    time.sleep(milliseconds / 1000)
    kill(process)
    thread.join()
    with Desk(tmp_path) as desk:
        listed = [batch.id for batch in desk.sdk.messages.batches.list(limit=1000).data]
        assert set(answered) <= set(listed)
        assert len(listed) - len(answered) <= 1
        for batch_id in listed[:2]:
            assert desk.end(batch_id).request_counts.succeeded == 2000
            assert len(desk.raw_lines(batch_id)) == 2000


def test_faults_of_a_file_go_on_counting(tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps({"calls": [{"call": "list", "fault": "status:500", "times": 2}]}))

    def listing(path: Path | None) -> int:
        with Desk(tmp_path / "state", faults=path) as desk:
            return desk.http("GET", "/v1/messages/batches")[0]

    assert [listing(faults), listing(None), listing(faults)] == [500, 500, 200]
    faults.write_text(json.dumps({"calls": [{"call": "list", "fault": "status:503"}]}))
    assert [listing(faults), listing(faults)] == [503, 200]


def test_left_over_bodies_are_swept(tmp_path: Path) -> None:
    with Desk(tmp_path):
        pass
    old, new = tmp_path / "incoming" / "old.part", tmp_path / "incoming" / "new.part"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (1, 1))
    with Desk(tmp_path) as desk:
        desk.create(params())
        assert list((tmp_path / "incoming").iterdir()) == [new]


def test_what_it_cannot_use(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(EmulatorError, match="file: cannot hold"):
        Emulator(file).start()
    with Desk(tmp_path / "state") as desk:
        port = int(desk.emulator.base_url.rsplit(":", 1)[1])
        with pytest.raises(EmulatorError, match=f"port {port}: "):
            Emulator(tmp_path / "other", port=port).start()


def test_a_large_batch_takes_seconds(tmp_path: Path) -> None:
    lines = [json.dumps(request(f"r{place}", structured(f"row {place} " + "x" * 200))) for place in range(20_000)]
    body = f'{{"requests":[{",".join(lines)}]}}'.encode()
    with Desk(tmp_path) as desk:
        started = time.process_time()
        batch = json.loads(desk.http("POST", "/v1/messages/batches", body)[2])
        assert desk.end(batch["id"]).request_counts.succeeded == 20_000
        assert time.process_time() - started < 4
        assert len(desk.raw_lines(batch["id"])) == 20_000
