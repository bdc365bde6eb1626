"""The output schema: what an answer must be, what of it is sent, and which columns it becomes.

Input: `[output]` of the pipeline file, or a JSON Schema file.
Output: the full schema, the reduced one for the provider, columns with SQL, validated documents.
It writes no table.
"""
