"""Exchange with the provider what surrounds a batch: uploaded inputs, downloaded results, late refusals.

Input: chunks as they were committed, and the provider's replies.
Output: the files of the raw folder, and what is recorded of a reply.
It writes events of chunks, and the decisions on requests that the provider refuses alone.
"""
