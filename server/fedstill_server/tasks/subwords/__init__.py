"""Fleets of texts for models of Hugging Face: classes of texts, and the sub-word that comes next."""
