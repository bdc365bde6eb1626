"""Files of the rows that are due: how many tokens they are, which are uploaded once for many requests.

Input: the snapshot with the contents of its files, and the requests of a plan. Output: figures of a plan, the contents
that several requests share.
It writes `work.shared_files`, and the bytes in `work.to_send`.
"""
