"""The rounds of a fleet: tasks go out, summaries come in, the server learns, and each round is committed."""
