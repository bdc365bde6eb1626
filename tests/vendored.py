"""`python tests/vendored.py TARBALL` takes another version of htmx into the package.

The tarball is what `npm pack htmx.org@VERSION` leaves in the folder. The script and its line in `vendor.json` are
written: name, version, licence, the sum of the script, and that of the tarball as npm prints it. Then run
`pytest tests/pages`, and look at the pages.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parents[1] / "batchpipe" / "html" / "static"


class NotThatPackageError(Exception):
    """The tarball is not one of the vendored package, or has no such script."""


def main(arguments: Sequence[str]) -> int:
    """Write the script of the tarball that is named, and say which version it was and is."""
    if len(arguments) != 1:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        before, after = take(Path(arguments[0]), STATIC)
    except (NotThatPackageError, OSError, tarfile.TarError) as error:
        sys.stderr.write(f"{arguments[0]}: {error}\n")
        return 1
    sys.stdout.write(f"{after['name']} {before['version']} -> {after['version']} in {STATIC / after['file']}\n")
    return 0


def take(tarball: Path, folder: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Take the vendored script out of `tarball` into `folder`; return what `vendor.json` said before, and says now.

    Raises NotThatPackageError for a tarball of another package.
    """
    listed = folder / "vendor.json"
    [known] = json.loads(listed.read_text("utf-8"))
    with tarfile.open(tarball) as archive:
        package = json.loads(_member(archive, "package/package.json"))
        script = _member(archive, f"package/{known['path']}")
    if package.get("name") != known["name"]:
        raise NotThatPackageError(f"it holds {package.get('name')}, not {known['name']}")
    found = known | {
        "version": package["version"],
        "licence": package["license"],
        "sha384": _sum(hashlib.sha384(script).digest()),
        "npm_integrity": f"sha512-{_sum(hashlib.sha512(tarball.read_bytes()).digest())}",
    }
    (folder / known["file"]).write_bytes(script)
    listed.write_text(json.dumps([found], indent=2) + "\n", encoding="utf-8")
    return known, found


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    try:
        file = archive.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise NotThatPackageError(f"it has no file {name}")
    return file.read()


def _sum(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
