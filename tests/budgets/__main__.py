"""`python -m tests.budgets [JOBS [SEED]]` simulates 2,000 jobs and prints what came of them; exit 1 where one of the
promises about budgets is broken.
"""

import sys

from .jobs import broken, played, summary

count, seed = ([*map(int, sys.argv[1:]), 2_000, 1][:2]) if len(sys.argv) < 3 else map(int, sys.argv[1:3])
found = played(count, seed)
sys.stdout.write(summary(found) + "\n")
problems = broken(found)
sys.stdout.write("\n".join(problems or ["every promise was kept"]) + "\n")
sys.exit(bool(problems))
