"""The simulator: a fleet of virtual devices on one machine."""
