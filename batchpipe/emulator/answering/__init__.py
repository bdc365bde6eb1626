"""How answers come about in every protocol: values by a schema, answers of a file, rules, the prompt cache.

Input: the texts of a request, its schema, the rules in force.
Output: values, answers of the file, what is cached.
It writes the counters and the cache of the emulator's own SQLite file.
"""
