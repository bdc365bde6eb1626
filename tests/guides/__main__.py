"""Run the files of docs/orchestrators with the programs that they are for, each in a virtual environment of its own.

`python -m tests.guides [NAME...] [--environments DIR]`; DIR keeps the environments for the next call. Nothing is sent:
the pipelines run on the emulator. The exit code is 0 where everything that was asked for has passed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
FILES = CHECKOUT / "batchpipe" / "docs" / "orchestrators"
PACKAGES = {
    "airflow": ("apache-airflow",),
    "dagster": ("dagster",),
    "prefect": ("prefect",),
    "pre-commit": ("pre-commit",),
    "github": ("pyyaml",),
    "systemd": (),
}
LATER = {"BATCHPIPE_EMULATOR": "1", "BATCHPIPE_EMULATOR_DELAY": "3", "TRIAGE_LOOK_SECONDS": "2"}


def project(folder: Path) -> Path:
    """Make a project with the pipeline that the files name, in a repository of its own."""
    root = folder / "project"
    for name in ("pipelines", "prompts"):
        shutil.copytree(CHECKOUT / name, root / name)
    (root / "batchpipe.toml").touch()
    for each in (root / "pipelines").rglob("*.toml"):
        if each.stem != "ticket_triage":
            each.unlink()
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    return root


def called(
    words: Sequence[str | Path], folder: Path, environment: Mapping[str, str], *, codes: Sequence[int] = (0,)
) -> str:
    """Call a program and return what it printed. Raises AssertionError for an exit code that is not expected."""
    done = subprocess.run(
        [str(each) for each in words],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode in codes, f"{words[0]} ended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


def answered(python: Path, root: Path) -> int:
    """Return how many tickets are answered on the emulator."""
    code = (
        "import batchpipe; rows = batchpipe.Project('.', emulator=True).pipeline('ticket_triage').results().fetchall();"
        " print(len(rows))"
    )
    return int(called([python, "-c", code], root, {}).split()[-1])


def airflow(python: Path, root: Path) -> None:
    """The DAG is parsed, and a run of it ends after more than one look."""
    home = root.parent / "airflow"
    environment = {**LATER, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    environment |= {"AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"), "TRIAGE_PROJECT": str(root)}
    (home / "dags").mkdir(parents=True)
    shutil.copy(FILES / "airflow_dag.py", home / "dags" / "airflow_dag.py")
    command = python.parent / "airflow"
    called([command, "db", "migrate"], home, environment)
    assert "No data found" in called([command, "dags", "list-import-errors"], home, environment)
    called([command, "dags", "reserialize"], home, environment)
    said = called([command, "dags", "test", "ticket_triage"], home, environment)
    assert "rows are answered" in said, said[-4000:]
    assert answered(python, root) > 0
    runs = called([python.parent / "batchpipe", "status", "ticket_triage", "--emulator"], root, {})
    assert "pending" in runs, runs


def dagster(python: Path, root: Path) -> None:
    """The definitions load, the asset is made, and its check passes."""
    shutil.copy(FILES / "dagster_assets.py", root / "dagster_assets.py")
    code = (
        "import dagster as dg, dagster_assets as a; "
        "made = dg.materialize([a.ticket_triage, a.few_rows_failed]); assert made.success; "
        "(check,) = made.get_asset_check_evaluations(); assert check.passed, check; "
        "assert a.defs.get_repository_def().get_schedule_def('nightly').cron_schedule == '0 2 * * *'; "
        "(event,) = made.asset_materializations_for_node('ticket_triage'); print(event.metadata['accepted'].value)"
    )
    environment = {"BATCHPIPE_EMULATOR": "1", "DAGSTER_HOME": str(root.parent), "TRIAGE_PROJECT": str(root)}
    said = called([python, "-c", code], root, environment)
    assert int(said.split()[-1]) == answered(python, root) > 0


def prefect(python: Path, root: Path) -> None:
    """The flow ends after more than one look."""
    environment = {**LATER, "TRIAGE_PROJECT": str(root), "PREFECT_HOME": str(root.parent / "prefect")}
    environment["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "200"
    said = called([python, FILES / "prefect_flow.py"], root, environment)
    assert "rows are in flight" in said, said[-4000:]
    assert "Completed" in said, said[-4000:]
    assert answered(python, root) > 0


def pre_commit(python: Path, root: Path) -> None:
    """A file that is right may be committed, one that is wrong may not."""
    pipeline = root / "pipelines" / "ticket_triage.toml"
    names = ("ticket_id", "subject", "body", "plan")
    columns = "\n".join(["", "[input.columns]", *(f'{each} = "VARCHAR"' for each in names), "", "[prompt]", ""])
    pipeline.write_text(pipeline.read_text("utf-8").replace("\n[prompt]\n", columns, 1), "utf-8")
    shutil.copy(FILES / "pre-commit-config.yaml", root / ".pre-commit-config.yaml")
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    environment = {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PRE_COMMIT_HOME": str(root.parent / "home"),
    }
    said = called([python.parent / "pre-commit", "run", "--all-files"], root, environment)
    assert "Passed" in said, said
    pipeline.write_text(pipeline.read_text("utf-8").replace("{{", "").replace("[[models]]", "[[model]]"), "utf-8")
    said = called([python.parent / "pre-commit", "run", "--all-files"], root, environment, codes=(1,))
    assert "Failed" in said, said
    assert "model" in said, said


def github(python: Path, root: Path) -> None:
    """The steps of the workflow run, with a program that stands in for GitHub's own and keeps the comment."""
    code = (
        "import json, sys, yaml; job = yaml.safe_load(open(sys.argv[1]))['jobs']['plan']; "
        "print(json.dumps([each['run'] for each in job['steps'] if 'run' in each]))"
    )
    import json

    steps: list[str] = json.loads(called([python, "-c", code, FILES / "plan_comment.yml"], root, {}))
    desk = root.parent / "bin"
    desk.mkdir()
    (desk / "gh").write_text('#!/bin/sh\necho "$@" > gh.txt\ncp "$5" comment.md\n')
    (desk / "gh").chmod(0o755)
    environment = {"PATH": os.pathsep.join([str(desk), str(python.parent), os.environ["PATH"]]), "NUMBER": "7"}
    for step in steps:
        if not step.startswith("pip install"):
            called(["bash", "-e", "-o", "pipefail", "-c", step], root, environment)
    assert (root / "gh.txt").read_text() == "pr comment 7 --body-file plan.md --edit-last --create-if-none\n"
    comment = (root / "comment.md").read_text("utf-8")
    assert comment.startswith("### batchpipe plan: `ticket_triage`"), comment[:200]


def systemd(python: Path, root: Path) -> None:
    """The units are right in systemd's own eyes, and the command of the service does its work."""
    home = root.parent / "home"
    (home / "project" / ".venv").mkdir(parents=True)
    (home / "project" / ".venv" / "bin").symlink_to(python.parent)
    units = root.parent / "units"
    units.mkdir()
    for name in ("batchpipe.service", "batchpipe.timer"):
        text = (FILES / name).read_text("utf-8").replace("%h", str(home))
        (units / name).write_text(text, "utf-8")
    verifier = shutil.which("systemd-analyze")
    assert verifier is not None, "systemd-analyze is not installed: apt-get install systemd"
    said = called([verifier, "verify", units / "batchpipe.service", units / "batchpipe.timer"], units, {})
    assert "batchpipe" not in said, said
    called([verifier, "calendar", "*:0/10"], units, {})
    words = next(
        line for line in (FILES / "batchpipe.service").read_text().splitlines() if line.startswith("ExecStart=")
    )
    command = words.removeprefix("ExecStart=").replace("%h", str(home)).split()
    assert "in flight" in called(command, root, LATER, codes=(5,))


GUIDES: Mapping[str, Callable[[Path, Path], None]] = {
    "airflow": airflow,
    "dagster": dagster,
    "prefect": prefect,
    "pre-commit": pre_commit,
    "github": github,
    "systemd": systemd,
}


def environment_of(name: str, folder: Path) -> Path:
    """Make the virtual environment of a guide, where it is not there yet, and return its Python."""
    python = folder / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
    for words in ((*PACKAGES[name],), ("-e", str(CHECKOUT))):
        if words:
            subprocess.run([python, "-m", "pip", "install", "-q", *words], check=True)
    return python


def main() -> int:
    """Run the guides that the command line names, all without names; return how many failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*GUIDES, []])
    parser.add_argument("--environments", type=Path)
    given = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.names or GUIDES:
            python = environment_of(name, given.environments or Path(scratch) / "environments")
            folder = Path(scratch) / name
            folder.mkdir()
            try:
                GUIDES[name](python.absolute(), project(folder))
                print(f"{name}: passed", flush=True)
            except (AssertionError, subprocess.SubprocessError, OSError, ValueError) as error:
                failed += 1
                print(f"{name}: failed\n{error}", flush=True)
    print(f"{len(given.names or GUIDES) - failed} passed, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
