"""Where a student and its teacher part most: an audit proxy, for what nobody can look through."""
