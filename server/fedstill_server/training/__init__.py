"""Training torch networks on the server, deterministically, with checkpoints."""
