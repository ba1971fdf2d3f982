"""The private store: examples, personal weights, privacy ledger and installed packages of a device."""

from fedstill_client.store.examples import (
    ExampleCounts,
    Retention,
    StoredExamples,
    check_example,
    is_held_out,
)
from fedstill_client.store.ledger import Ledger, Release, ReleaseTotals
from fedstill_client.store.memories import MemoryLimits, StoredMemories
from fedstill_client.store.private_store import PrivateStore
from fedstill_client.store.texts import StoredText
from fedstill_client.store.unclear import StoredUtterance
from fedstill_client.store.weights import StoredStudents

__all__ = [
    "ExampleCounts",
    "Ledger",
    "MemoryLimits",
    "PrivateStore",
    "Release",
    "ReleaseTotals",
    "Retention",
    "StoredExamples",
    "StoredMemories",
    "StoredStudents",
    "StoredText",
    "StoredUtterance",
    "check_example",
    "is_held_out",
]
