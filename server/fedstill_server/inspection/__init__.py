"""Inspection of a finished student: calibration, robustness, agreement, explanation, energy."""
