"""How good one form of a student is on a task's test examples: of classes, of next tokens, and of vectors."""
