"""Operations of a device that are killed and then inspected (see ../device_kills.py)."""
