"""The server's part of differential privacy: a run's rule, the noised fold, and the numeric accountant."""
