"""Distillation on the server: from a teacher, or several, to a student; one technique a file."""
