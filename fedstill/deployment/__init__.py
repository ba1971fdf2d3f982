"""Students for devices: distilled from a teacher, and published to a fleet."""
