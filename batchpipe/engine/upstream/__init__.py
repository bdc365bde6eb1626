"""What a pipeline needs of those whose output tables it reads: that they are complete, and what they will have.

Input: the ledger, and the pipelines that another one reads.
Output: what is waited for, and the rows that a plan expects in a table whose answers are not there yet.
It writes no table.
"""
