"""The OpenAI protocol: files, batches, responses and chat completions, strict to the API.

Input: HTTP requests; the rules in force; answers of a file.
Output: replies, input files, output files and error files.
It writes its own tables of the emulator's SQLite file, whose names begin with `openai_`.
"""
