"""The assistant in the simulator: homes and what is said in them, and how well a student understands it."""
