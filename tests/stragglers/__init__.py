"""The last rows of a large job, asked in realtime: `python -m tests.stragglers`."""
