"""Soft labels of very many classes: the likeliest exactly, and a few that are drawn of all others."""
