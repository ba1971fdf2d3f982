"""Traces of a fleet: when each device is there, how fast it computes, and how fast its network is."""
