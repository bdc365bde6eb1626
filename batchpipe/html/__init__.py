"""Pages of HTML out of plain values: the blocks of a page, their templates, the style sheet.

Input: blocks, made by commands and pages out of what they read.
Output: HTML, as a part of a served page or as one file without script.
Every text is escaped by the templates. It reads no database and writes no table.
"""
