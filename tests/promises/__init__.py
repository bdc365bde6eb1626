"""Simulations that count how often each promise is broken: `python -m tests.promises`."""
