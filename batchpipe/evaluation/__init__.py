"""Statistics of answers held against gold, what a ladder makes of them, and its thresholds. Reads and writes nothing."""
