"""The agent: a private store, a personal student and its answers behind one interface."""
