"""Find providers and make them: their tables in the settings, their keys, and the provider that a batch was sent to.

Input: the settings and the environment, a provider's name or an open batch.
Output: providers with their calls, each made at its first use. It writes no table.
"""
