"""What is known to be true: gold rows of a file or query, and what people said in review.

Input: `[eval] gold`, `ledger.reviews`, and the stored answers.
Output: true values by key and field, graded answers, and how often people agreed with the models.
It writes working tables only.
"""
