"""Differential privacy of simulated runs: the budget that a run spends, and an attack that audits it."""
