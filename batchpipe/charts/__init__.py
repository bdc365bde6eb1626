"""Charts as SVG, drawn without script and without inline style: columns, shares, lines, points, calibration.

Input: numbers with their names.
Output: a `Chart`, which is a picture and a table of the same numbers.
The same picture stands in a page, in a report of one file, and as a file of its own. It writes no table.
"""
