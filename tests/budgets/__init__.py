"""Simulated jobs within a budget, whose answers have lengths with heavy tails."""
