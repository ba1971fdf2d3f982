"""How fast a graph answers, how much memory it takes, and on what machine that was measured."""
