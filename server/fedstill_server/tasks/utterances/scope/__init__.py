"""Sentences that ask for nothing: what an assistant's student learns to leave alone."""
