"""Text that a student writes: tokens drawn one after another from its graph of a word, seeded."""
