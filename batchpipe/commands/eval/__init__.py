"""`batchpipe eval`: how good answers to gold rows are, by model and for the ladder.

Input: gold rows, and the answers that an evaluation of `engine.quality` bought or found in the ledger.
Output: a report, its history, tuned thresholds with their curve, and a gate for CI (exit 1 below the bar).
It writes the event `evaluated`: the result of an evaluation.
"""
