"""What a device does in a round: train, summarize, keep what it learned."""
