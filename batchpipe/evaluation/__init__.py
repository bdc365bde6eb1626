"""Statistics of answers held against gold, what a ladder makes of them, and thresholds for `accept`.

Input: arrays of right and wrong answers, confidences and costs.
Output: shares with intervals, calibration, tuned thresholds with a promise.
It does no I/O and writes no table.
"""
