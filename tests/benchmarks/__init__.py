"""Benchmarks of batchpipe's CPU, time, memory and disk, beside a script without state and a loop over the SDK."""
