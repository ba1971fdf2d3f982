"""What a run costs on this machine: seconds by phase, memory, bytes and disk, from measured runs."""
