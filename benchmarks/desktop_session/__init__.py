"""A desktop of its own for one test or measurement: a screen, a session bus, IBus, and a window of fields."""
