"""The input: read once a call, in a DuckDB session of its own, into a Parquet snapshot.

Input: `[input] query`, `setup` and parameters; the project's tables, read-only.
Output: the columns with their types, the snapshot file, and SQL that reads it.
It writes the snapshot beside the database, and no table.
"""
