"""What an operator sees of a fleet while it runs: a page behind a login, alarms, and metrics."""
