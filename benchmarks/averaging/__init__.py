"""One FedAvg workload, run by different engines, for benchmarks/simulation.py."""
