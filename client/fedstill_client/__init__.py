"""The device: personalize a student, summarize it, answer from it. Never torch."""
