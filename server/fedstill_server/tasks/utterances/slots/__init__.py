"""A tagger of slots: which words of an utterance are a room, a thing, a number, a colour."""
