"""What letters were meant to be: layouts, a model of typing errors, the search of a word list."""
