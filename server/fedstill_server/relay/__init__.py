"""A relay: a node to the server above it, and a server to its own devices (docs/how-to/relays.md)."""
