"""A run: several pipelines advance side by side until nothing is due; also pilots, previews and `try`.

Input: pipeline files, the options of one call, the context.
Output: the result of each pipeline, or its gate, or its error.
It writes the run's events; what it leads in `engine.batches` writes the rest.
"""
