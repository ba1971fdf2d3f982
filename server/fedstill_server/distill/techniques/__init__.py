"""The techniques that add terms or weights to a student's training, one a file; registry.py names them."""
