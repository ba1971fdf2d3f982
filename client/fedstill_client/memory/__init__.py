"""A memory of the owner's texts: found again by meaning, on the device, and never sent (see docs)."""
