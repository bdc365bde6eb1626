"""The steps of a run: input → diff → render → encode → chunk → submit → poll → collect → judge → decide → output."""
