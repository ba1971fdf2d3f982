"""Workers on the machines of a Ray cluster: the same calls and results as with processes of this machine."""
