"""What a student must never answer, suggest or write: the list that a package carries, and how it is kept."""
