"""Pictures, documents and files of rows: what tells their type, which of them may be sent, their places in a request.

Input: bytes, paths and encoded requests. Output: media types and sizes, what `stat` shows, requests with files in them.
It writes no table. What a provider takes, and how it counts tokens, is the provider's.
"""
