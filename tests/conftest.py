"""Settings of every test run."""

from __future__ import annotations

import os
from pathlib import Path

import fedstill_proto.system.telemetry  # noqa: F401  (before a test imports onnxruntime or flwr)
import pytest
from hypothesis import settings

# Before numpy and torch: two test processes of two threads each would wait for one another on two cores.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# Inside the checkout, not in the home directory of whoever runs the tests.
os.environ.setdefault("FEDSTILL_CACHE", str(Path(__file__).resolve().parents[1] / ".cache" / "fedstill"))

# What is printed is not broken at a place that depends on the length of a temporary folder's name.
os.environ["COLUMNS"] = "400"

# Examples are the same in every run, and the clock fails none of them: a busy machine is no defect.
# HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: started last, one of them would keep the other core waiting."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
