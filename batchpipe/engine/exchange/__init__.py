"""What goes over to a provider around a batch: inputs that are uploaded, results that are downloaded, late refusals.

Input: chunks as they were committed, and the provider's replies.
Output: the files of the raw folder, and what is recorded of a reply.
It writes events of chunks, and the decisions on requests that the provider refuses alone.
"""
