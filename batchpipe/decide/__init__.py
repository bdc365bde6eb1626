"""Decisions as pure functions over values: no clock, no file, no database, no environment.

Input: sizes, prices, outcomes and settings as frozen values.
Output: chunks, the use of a prompt cache, fingerprints, and what a result leads to.
It writes no table.
"""
