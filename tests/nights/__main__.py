"""`python -m tests.nights [DRAWS [SEED]] [write]`: the figures of the local rung, on questions to a bank.

It prints them as tables; with `write` it keeps them in the page on the local rung, with their pictures. Exit 1 where
a figure is not reached.
"""

import sys
from pathlib import Path


def main() -> int:
    """Work out the figures, print them and keep them."""
    root = Path(__file__).parents[2]
    sys.path[:0] = [str(root), str(root / "tests")]
    from .page import figures, keep

    given = [int(each) for each in sys.argv[1:] if each != "write"]
    draws, seed = [*given, 200, 1][:2] if len(given) < 2 else given[:2]
    found = figures(draws, seed)
    sys.stdout.write(f"{found.text}\n\n" + "\n".join(found.missed or ["every figure is reached"]) + "\n")
    if "write" in sys.argv:
        keep(found, root / "batchpipe" / "docs")
    return int(bool(found.missed))


if __name__ == "__main__":
    sys.exit(main())
