"""Statistics of answers held against gold, what a ladder makes of them, and its thresholds. Does no I/O."""
