"""What comes of a release on a device: the owner's student is re-based, and what was found is reported."""
