"""Replay the raw folder into the ledger: what a restored, lost or moved database does not know.

Input: the raw folders of a project, a session of the database.
Output: requests, events and results that the ledger did not know; nothing is asked of a provider.
It writes `ledger.requests`, `ledger.events`, `ledger.prompt_versions`, `ledger.policies`, `ledger.commits`, and through
the collector of `batches` results, decisions and the output table.
"""
