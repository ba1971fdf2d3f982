"""What operators want to know of a fleet, and what they did: facts of devices, events, and an audit log."""
