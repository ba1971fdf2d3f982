"""Switches off the telemetry of the libraries under fedstill.

Each reads its variable once, when it is loaded, so every fedstill package imports this module first. ONNX
Runtime (from 1.29 on, on Linux too) otherwise keeps an identifier of the device and reports its models and
sessions; flwr reports commands and can wait four seconds for that at every exit. Set the variable to report.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
