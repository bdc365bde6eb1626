"""The crash sweep: a run is killed at every step that it takes, and goes on."""
