"""Callbacks: what follows a run round by round, such as TensorBoard and MLflow."""
