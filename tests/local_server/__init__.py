"""A real model on this machine as the free first rung: `python -m tests.local_server`."""
