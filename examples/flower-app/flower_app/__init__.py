"""Federated distillation on handwritten digits: a Flower app."""
