"""Soft labels: arrays, levels on a grid, entropy coding, and the codec that puts them into a message."""
