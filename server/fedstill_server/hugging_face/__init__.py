"""Models of Hugging Face: opened from a folder, as teachers and as students of sub-words."""
