"""Simulated runs: from a fleet in memory to its result, and comparisons of many runs."""
