"""The recipes, which lead to a student through several trainings; registry.py names them."""
