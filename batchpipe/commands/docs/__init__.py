"""`batchpipe docs`: the pages that are shipped with the package, in the terminal or as a folder of HTML.

Input: the Markdown files under `batchpipe/docs/`, and the name of a page.
Output: a list of pages, one page, or HTML files that open from disk.
It writes no table.
"""
