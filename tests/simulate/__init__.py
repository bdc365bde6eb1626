"""A simulator: seeded histories of commands over a misbehaving provider, a failing disk and clocks that jump.

One process holds everything. The commands are the real ones, over real DuckDB files; the provider is the emulator's
service, reached through a transport of the SDK's HTTP client. Time, chance, sleep and the order of uploads are given to
the commands by the simulator. So a seed and a commit replay the same calls, store operations and verdicts.
"""
