"""English sentences to distil a sentence model from, and pairs of others to judge it by."""
