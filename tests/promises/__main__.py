"""`python -m tests.promises [DRAWS [SEED]]` draws 2,000 samples for each case of each promise.

It prints how many promises were given and broken, and how often the intervals of shares hold; exit 1 where one breaks
its word.
"""

import sys
from pathlib import Path


def main() -> int:
    """Simulate, and print the tables of the page on promises."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from .simulation import coverage_table, coverages, promise_table, promises

    draws, seed = ([*map(int, sys.argv[1:]), 2_000, 1][:2]) if len(sys.argv) < 3 else map(int, sys.argv[1:3])
    found = [simulate() for simulate in promises(draws, seed)]
    held = coverages(draws, seed)
    sys.stdout.write(
        f"{draws:,} draws for each case, seed {seed}\n\n{promise_table(found)}\n\n{coverage_table(held)}\n"
    )
    broken = [f"{each.promise}: {each.case}" for each in found if not each.holds]
    broken += [f"share {each.value}: {each.case}" for each in held if not each.holds]
    careful = [f"wider than it has to be: share {each.value}, {each.case}" for each in held if each.careful]
    sys.stdout.write("\n" + "\n".join([*(broken or ["every promise was kept"]), *careful]) + "\n")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
