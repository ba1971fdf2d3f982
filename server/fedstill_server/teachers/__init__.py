"""Teachers: who they are by name, and those that answer and show nothing else."""
