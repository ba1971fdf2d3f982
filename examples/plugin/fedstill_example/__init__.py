"""What a distribution of one's own may bring to fedstill, one thing a file."""
