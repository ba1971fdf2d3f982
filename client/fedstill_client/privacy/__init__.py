"""What a device lets out: its own policy, its budget, and what it does about tasks that ask for more."""

from fedstill_client.privacy.guard import PrivacyGuard, PrivacyRefused
from fedstill_client.privacy.policy import POLICY_FILE, PrivacyPolicy

__all__ = ["POLICY_FILE", "PrivacyGuard", "PrivacyPolicy", "PrivacyRefused"]
