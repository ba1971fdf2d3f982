"""What a finished student is like: calibration, robustness, agreement, explanation, energy."""
