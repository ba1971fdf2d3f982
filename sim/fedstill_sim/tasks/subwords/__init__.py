"""Fleets of texts for models of Hugging Face, simulated."""
