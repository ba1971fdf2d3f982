"""A student on the device: its training step, its predictions and its evaluation."""
