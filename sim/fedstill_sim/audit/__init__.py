"""Attacks on what a configuration would really send, and what they find beside what is promised."""
