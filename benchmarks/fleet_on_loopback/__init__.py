"""A real fleet on one machine: its processes, what they sent, and the same fleet in the simulator."""
