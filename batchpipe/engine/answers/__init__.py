"""Validating answers: JSON by the compiled schema, then casts, checks and `accept` in SQL.

Input: answers in `work.answers`, and the policy (schema, casts, checks, `accept`) that they are held to.
Output: for each answer its document, whether it is valid, and the error that the model is shown.
It writes working tables only: `work.validated`, `work.documents`, `work.validity`.
"""
