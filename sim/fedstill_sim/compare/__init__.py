"""Comparisons of methods over splits and seeds."""
