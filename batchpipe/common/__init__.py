"""What every room may use: errors, events in words, and telemetry.

Input: what happened, as values.
Output: exceptions with an exit code and a remedy, sentences for people, spans and metrics.
It imports no other room and writes no table.
"""
