"""A small model that a pipeline learns from its own answers: text classification with linear models.

Input: texts, accepted answers and weights; texts to answer. Output: answers with calibrated confidences, likely values,
nearest answered rows, and the tests that say whether the model may answer. It does no I/O and writes no table.
"""
