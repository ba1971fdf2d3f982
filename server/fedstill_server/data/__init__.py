"""The public set: its examples, and which of its rows a round uses."""
