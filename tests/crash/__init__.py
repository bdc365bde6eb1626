"""The crash sweep: a run is killed at each of its steps, and the next run goes on."""
