"""The Gemini API as the emulator speaks it: files, batches as operations, and realtime calls.

Input: HTTP requests to /v1beta, /upload and /download; rules and answers of a file. Output: replies as the service
gives them. It writes its own two tables of the emulator's SQLite file, and the files of inputs and results.
"""
