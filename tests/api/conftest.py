"""What one test names in this process, the next does not find."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fedstill_server.distill.registry import TECHNIQUES
from fedstill_server.families import FAMILIES
from fedstill_server.methods import METHODS
from fedstill_server.teachers.registry import TEACHERS
from fedstill_sim.attacks.registry import ATTACKS


@contextmanager
def forgetting() -> Iterator[None]:
    """Networks, methods and techniques that are registered, and where families lie, are then as before."""
    every = (FAMILIES, TEACHERS, METHODS, TECHNIQUES, ATTACKS)
    before, places = [dict(registry._registered) for registry in every], dict(FAMILIES._places)
    try:
        yield
    finally:
        for registry, registered in zip(every, before, strict=True):
            registry._registered = registered
        FAMILIES._places = places


@pytest.fixture(autouse=True, scope="module")
def after_a_module() -> Iterator[None]:
    """What fixtures of a module name."""
    with forgetting():
        yield


@pytest.fixture(autouse=True)
def after_a_test() -> Iterator[None]:
    """What a test names itself."""
    with forgetting():
        yield
