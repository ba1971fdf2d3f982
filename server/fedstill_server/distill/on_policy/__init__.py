"""Rows of words that a student writes itself while it learns, and what its teacher says of them."""
