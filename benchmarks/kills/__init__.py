"""What a device does, each as an operation that is killed and then looked at (see ../device_kills.py)."""
