"""What several protocols share: HTTP calls, downloads that are whole, JSON lines, values out of replies.

Input: a base URL, a key, the reader of a protocol's error bodies; responses and results files.
Output: responses, or the errors of `batchpipe.providers`; files on the disk; SQL that reads lines.
It writes no table. Encoders, the SQL of a line, schema rules and error words are in the folder of each protocol.
"""
