"""Waits for the provider, and how each of them ends: with a result, with a question to a person, or with a booking.

Input: open chunks, what stood in their way at each look, the account that an intent was made with.
Output: what a person has to decide, which commands decide it, and rows whose results are gone.
It writes events of chunks, and the decisions on rows whose results are gone.
"""
