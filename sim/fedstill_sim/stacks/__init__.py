"""Rounds whose answers are folded where devices run: only sums, counts and columns travel."""
