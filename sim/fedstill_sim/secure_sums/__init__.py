"""Sums that the server cannot open, in a simulated fleet: the very code of real devices, in one process."""
