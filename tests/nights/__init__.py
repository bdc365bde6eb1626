"""Figures of the rung that costs nothing, on questions to a bank: `python -m tests.nights`."""
