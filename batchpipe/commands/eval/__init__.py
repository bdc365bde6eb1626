"""`batchpipe eval`: how good answers are, held against gold rows, by model and for the ladder.

Input: gold rows, and the answers that an evaluation of `engine.quality` bought or found in the ledger.
Output: a report, its history, tuned thresholds with their curve, and a gate for CI (exit 1 below the bar).
It writes the event `evaluated`: what an evaluation came to.
"""
