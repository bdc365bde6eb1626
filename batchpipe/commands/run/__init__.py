"""`batchpipe run`: submit what is due, wait, collect, and go on until nothing is due.

Input: the options of the call, and the events of the runs that `engine.run` leads.
Output: a live display or a line for each event, the plan with a question, the result as text or JSON, an exit code.
It writes no table itself.
"""
