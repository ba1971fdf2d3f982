"""What is known of each device of a fleet, as columns: a million names or families take a few megabytes."""
