"""What a fleet may learn: one room for each task, behind one interface."""
