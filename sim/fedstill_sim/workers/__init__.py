"""Worker processes: fresh Python interpreters that never import the caller's program."""
