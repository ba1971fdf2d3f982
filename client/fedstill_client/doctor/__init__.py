"""Finds out why a device takes part in no round: one check after the other, each with what to do."""

from fedstill_client.doctor.examination import examine
from fedstill_client.doctor.finding import CheckVerdict, Finding

__all__ = ["CheckVerdict", "Finding", "examine"]
