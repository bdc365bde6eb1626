"""Record realtime calls in the ledger: an intent before each call, and an end after it.

Input: a request that is to be answered at once. Output: who may ask it, and what became of it.
It writes `ledger.requests`, `ledger.results`, `ledger.events` and the raw folder.
"""
