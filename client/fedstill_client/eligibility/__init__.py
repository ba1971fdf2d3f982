"""Whether a device may work for the fleet just now: idle, powered, unmetered, with room to spare."""

from fedstill_client.eligibility.conditions import Conditions
from fedstill_client.eligibility.rules import RULES_FILE, Rules
from fedstill_client.eligibility.verdict import Eligibility, verdict

__all__ = ["RULES_FILE", "Conditions", "Eligibility", "Rules", "verdict"]
