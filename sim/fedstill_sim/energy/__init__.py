"""What rounds cost a device's battery: bytes and arithmetic times stated coefficients."""
