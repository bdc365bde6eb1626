"""`python -m batchpipe`, and what the installed command `batchpipe` calls."""

import gc

from batchpipe.cli import main as cli


def main() -> int:
    """Run the process's own command line; its exit code."""
    code = cli.main()
    gc.freeze()  # or the interpreter looks for garbage among all there is once more before it ends
    return code


if __name__ == "__main__":
    raise SystemExit(main())
