"""`python -m tests.promises.narrower [DRAWS [SEED]]` draws intervals of shares that are narrower than the real ones.

They show why the real ones are not: each way of narrowing them holds the truth too seldom in some table.
"""

import sys
from pathlib import Path

CASES = ((3, 0.97, "uniform"), (73, 0.97, "uniform"), (78, 0.97, "by doubt"))
MISLED_CASES = ((54, 0.914, "by doubt, which is misled"), (76, 0.784, "by doubt, which is misled"))
# What is added to the rows that were seen, and the degrees of freedom that are given beside the contradicting rows.
WAYS = (("as they are", 0.5, 4), ("0.4 of a row added", 0.4, 4), ("weights taken as known", 0.5, 1_000_000))


def main() -> int:
    """Print how often each kind of interval holds each share."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from batchpipe.evaluation import shares

    from .simulation import coverages_of

    draws, seed = (int(each) for each in (*sys.argv[1:3], *("2000", "1")[len(sys.argv) - 1 :]))
    for name, half, freedom in WAYS:
        shares.HALF_ROW, shares.FIRST_FREEDOM = half, freedom
        for case in (*CASES, *MISLED_CASES):
            found = coverages_of(*case, draws, seed)
            held = " | ".join(f"{each.held:.1%}" for each in found)
            sys.stdout.write(f"| {name} | {found[0].case} | {held} |\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
