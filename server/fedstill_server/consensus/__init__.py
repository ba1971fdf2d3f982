"""How the summaries of a round are folded into one consensus."""
