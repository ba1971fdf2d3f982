"""The assistant on the server: a sentence model as the teacher, small students, and their confidence."""
