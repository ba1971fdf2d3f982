"""Groups of fedstill-server's commands."""
