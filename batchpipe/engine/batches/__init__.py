"""Batches from the plan to the ledger: chosen, submitted, polled, collected, searched for, recovered.

Input: the plan's requests in `work.leading`, a provider's calls, and raw result files.
Output: the outcome of every request, the rows' decisions, and the output table brought up to date.
It writes `ledger.requests`, `results`, `decisions`, `policies`, `prices`, `orders`, `prompt_versions` and events.
"""
