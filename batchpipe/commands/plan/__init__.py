"""`batchpipe plan`: what a run would do, why, and what it would cost.

Input: the plan of `engine.plan`, its estimate, and the change of the prompt.
Output: rows by reason, batches, cost, a pilot's gate; as text, JSON or Markdown.
It writes no table: a plan sends nothing and records nothing.
"""
