"""The database file: opened for moments, migrated, and asked by named statements.

Input: a path, the statements under `queries/`, the migrations under `migrations/`.
Output: sessions that read or write, one transaction each; working databases in memory.
It writes `ledger.meta` and `ledger.commits`; other rooms write the rest through its sessions.
"""
