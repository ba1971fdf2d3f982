"""Vocabularies, utterances and files of text, as server and devices both read them."""
