"""Find which pipelines read the output tables of which others, the order in which they go, and a picture of it.

Input: the pipeline files of a project, and the SQL in them.
Output: the pipelines that each one reads, and an order in which no pipeline comes before one that it reads.
It writes no table.
"""
