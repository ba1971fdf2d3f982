"""What a simulated fleet may learn: one room for each task."""
