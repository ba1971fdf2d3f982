"""The groups of fedstill-agent's commands; each module registers its own."""
