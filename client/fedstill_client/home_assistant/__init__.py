"""The assistant in Home Assistant, by the Wyoming protocol."""
