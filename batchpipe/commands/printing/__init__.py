"""How values look, to people and to programs, for all commands alike.

Input: money, counts, durations, tables, and text of users and models.
Output: lines of text, JSON, Markdown; text of users and models is escaped.
It writes no table.
"""
