"""The Message Batches protocol as the emulator speaks it: what it accepts, what it answers, how batches live.

Input: parsed bodies of requests, models' limits, answers from a file.
Output: messages, errors, batches and result lines in the shapes of the protocol.
It writes no table of the project.
"""
