"""Append events and ask the ledger small questions; the raw folder; the lock of a pipeline.

Input: a session of the database, a folder of raw results.
Output: what is open, spent and waiting; saved raw files; a lock that a killed process cannot leave behind.
It writes `ledger.events` and the raw folder.
"""
