"""A real fleet over TLS: its folder, its certificates, and the processes that serve it."""
