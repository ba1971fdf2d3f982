"""Codecs between numpy arrays and the wire."""
