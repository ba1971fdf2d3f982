"""fedstill's simulator: a virtual fleet on one machine, by the code that devices and the server really run."""

from importlib.metadata import version

__version__ = version("fedstill")
