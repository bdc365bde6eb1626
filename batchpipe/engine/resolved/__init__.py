"""A pipeline resolved against its source: templates compiled, schemas built, conditions bound.

Input: a pipeline file, the columns of its input, a prompt version of the ledger or a git commit.
Output: `Resolved`, which holds everything that rendering, validating and identities need.
It writes no table.
"""
