"""`python -m batchpipe`, and what the installed command `batchpipe` calls."""

from batchpipe.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    raise SystemExit(main())
