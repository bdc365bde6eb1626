"""Telling somebody who does not watch how runs ended and which batches are stuck.

Input: the setting `notify`, and what the ledger holds of runs, open batches and notices.
Output: JSON on the standard input of a command, or posted to a webhook; the notices that were sent.
It writes `ledger.events`: one event for each notice, whether it arrived or not.
"""
