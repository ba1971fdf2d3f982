"""The simulator: a fleet of virtual devices on one machine, by the code that devices and the server run."""

from importlib.metadata import version

__version__ = version("fedstill")
