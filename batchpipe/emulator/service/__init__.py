"""What every emulated protocol shares: memory, faults, damage to replies, and values for a schema.

Input: rules of faults, a folder to keep things in, a JSON schema.
Output: stored batches and bodies, spoiled replies, values that satisfy the schema.
It writes no table of the project: its memory is one SQLite file and a folder.
"""
