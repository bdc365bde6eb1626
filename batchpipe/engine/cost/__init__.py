"""Money: unit prices, what requests are expected to cost and cost at most, and what budgets leave.

Input: price tables, results of the same model and settings, requests that are due, the limits of the file.
Output: an estimate with its interval, and the room that is left in each budget; all Decimal US dollars.
It writes working tables only.
"""
