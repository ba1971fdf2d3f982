"""Devices that lie: attacks on a simulated fleet, one file each, and your own by a class."""
