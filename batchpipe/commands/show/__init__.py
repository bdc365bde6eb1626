"""`batchpipe show`: everything that is known about one row, sent or not.

Input: a key; the ledger's requests, results, decisions and reviews of that key; the row as it is now.
Output: input, prompt, every attempt, decisions and cost, as text or JSON.
It writes no table.
"""
