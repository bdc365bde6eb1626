"""What is known to be true: gold rows of a file or query, and what people said in review.

Input: `[eval] gold`, `ledger.reviews`, and the answers that there are already.
Output: true values by key and field, answers held against them, and how often people agreed with the models.
It writes working tables only.
"""
