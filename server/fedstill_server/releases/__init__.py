"""Releases in stages: to a few devices first, to more while their reports are good, and back where not."""
