"""The agent as a service for the apps of its user: gRPC on a Unix socket, and the client for it."""
