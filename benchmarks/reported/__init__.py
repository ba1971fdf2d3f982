"""Inputs from public bug reports of keyboards, assistants and command lines: what happens, and what must."""
