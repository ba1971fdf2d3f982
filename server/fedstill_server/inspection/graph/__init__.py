"""What a graph costs, read from its own nodes: parameters, arithmetic, and memory."""
