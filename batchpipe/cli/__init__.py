"""The command line: parsing what was typed, and the one place where errors become exit codes.

Input: the arguments of the process, its environment and its three streams.
Output: a call of one function under `commands`, and the exit code of the process.
It writes no table.
"""
