"""The address in a new project's CI file, for each form of `direct_url.json` in a real dist-info folder."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from batchpipe.scaffold.address import UNKNOWN, install_address

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GIT = {"vcs_info": {"vcs": "git", "commit_id": COMMIT, "requested_revision": "main"}}
ARCHIVE: dict[str, Any] = {"archive_info": {}}
REPOSITORY = "https://example.org/team/batchpipe.git"
WHEEL = "https://example.org/batchpipe-1.0-py3-none-any.whl"


def installed(folder: Path, recorded: str | None) -> metadata.Distribution:
    """Return the distribution whose dist-info folder, written under `folder`, holds `recorded`."""
    info = folder / "batchpipe-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: batchpipe\nVersion: 1.0\n")
    if recorded is not None:
        (info / "direct_url.json").write_text(recorded)
    (found,) = metadata.distributions(name="batchpipe", path=[str(folder)])
    return found


@pytest.mark.parametrize(
    ("recorded", "address"),
    [
        ({"url": REPOSITORY, **GIT}, f"git+{REPOSITORY}@{COMMIT}"),
        ({"url": "https://me:token@example.org/team/batchpipe.git", **GIT}, f"git+{REPOSITORY}@{COMMIT}"),
        ({"url": "https://token@example.org/team/batchpipe.git", **GIT}, f"git+{REPOSITORY}@{COMMIT}"),
        ({"url": "ssh://git@example.org/a/b.git", **GIT}, f"git+ssh://git@example.org/a/b.git@{COMMIT}"),
        ({"url": "ssh://git:secret@example.org/a/b.git", **GIT}, f"git+ssh://git@example.org/a/b.git@{COMMIT}"),
        ({"url": REPOSITORY, **GIT, "subdirectory": "py"}, f"'git+{REPOSITORY}@{COMMIT}#subdirectory=py'"),
        ({"url": WHEEL, **ARCHIVE}, WHEEL),
        ({"url": "https://me:token@example.org/batchpipe-1.0-py3-none-any.whl", **ARCHIVE}, WHEEL),
        ({"url": f"{WHEEL}?signature=secret", **ARCHIVE}, UNKNOWN),
        ({"url": "file:///src/batchpipe-1.0-py3-none-any.whl", **ARCHIVE}, UNKNOWN),
        ({"url": "file:///src/batchpipe", "dir_info": {"editable": True}}, UNKNOWN),
        ({"url": "file:///src/batchpipe", "dir_info": {}}, UNKNOWN),
        ({"url": "file:///src/batchpipe", **GIT}, UNKNOWN),
        ({"url": "https://example.org/a b", **ARCHIVE}, UNKNOWN),
        ({"url": REPOSITORY, "vcs_info": {"vcs": "git", "commit_id": "x\n      - run: y"}}, UNKNOWN),
        ({"url": 5, **ARCHIVE}, UNKNOWN),
        ([], UNKNOWN),
    ],
)
def test_the_address_is_one_that_other_machines_reach_without_a_secret(
    recorded: Any, address: str, tmp_path: Path
) -> None:
    assert install_address(installed(tmp_path, json.dumps(recorded))) == address


@pytest.mark.parametrize("recorded", [None, "", "{"])
def test_without_a_record_the_ci_file_asks_for_an_address(recorded: str | None, tmp_path: Path) -> None:
    assert install_address(installed(tmp_path, recorded)) == UNKNOWN
