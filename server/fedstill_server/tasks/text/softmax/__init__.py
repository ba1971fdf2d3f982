"""The loss of next words over long lists of words."""
