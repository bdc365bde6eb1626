"""What every emulated protocol shares: memory, rules, faults, and damage to replies.

Input: rules of faults, a folder to keep things in.
Output: stored batches and bodies, spoiled replies.
It writes no table of the project: its memory is one SQLite file and a folder.
"""
