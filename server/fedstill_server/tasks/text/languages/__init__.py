"""Public texts in one or more languages: which they are, how files are read, and what their word list is."""
