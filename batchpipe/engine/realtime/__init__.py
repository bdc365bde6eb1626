"""Realtime calls of a run: chunks whose requests are asked one by one, each answered at once.

Input: the plan's requests in `work.leading`, a provider's realtime call.
Output: raw result files that grow answer by answer, a journal of what was asked, and collected chunks.
It writes the raw folder, and through `engine.batches` what collected batches write.
"""
