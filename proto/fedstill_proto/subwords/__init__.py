"""Sub-words: a package's tokenizer.json, looked through before it is read, and texts as its rows."""
