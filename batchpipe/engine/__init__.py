"""The steps of a run, a room for each.

A row walks one way: input, plan, render, encode, chunk, submit, poll, collect, validate, decide, output.
Input: a pipeline file and the database. Output: sent batches, the ledger and the output table.
Each room imports only rooms above it in the table of the house test, and its docstring says which tables it writes.
"""
