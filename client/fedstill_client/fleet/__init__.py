"""The device's side of a fleet: joining one, and taking part in its rounds."""
