"""Rungs that ask a row more than once: their parts, what each member has answered, and the vote.

Input: due rows whose next rung is a panel, or the collected results of members.
Output: the requests that are still to be sent, and for each row whose members have all answered or failed the answer
that most agree with, and what the ladder makes of it.
It writes `ledger.part_decisions`, `ledger.votes`, and decisions on rows whose vote was cast.
"""
