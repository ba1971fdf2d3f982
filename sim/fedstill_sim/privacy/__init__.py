"""Differential privacy of simulated runs: the budget that a run spends."""
