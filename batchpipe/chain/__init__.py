"""Pipelines that read each other: who reads whose output table, in which order they go, and the picture of it.

Input: the pipeline files of a project, and the SQL in them.
Output: the pipelines that each one reads, and an order in which no pipeline comes before one that it reads.
It writes no table.
"""
