"""Sub-words on the device: the tokenizer that an installed package brings, checked and opened."""
