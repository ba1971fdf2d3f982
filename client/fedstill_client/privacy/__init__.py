"""What a device lets out: its owner's policy and budget, and what it does about tasks that ask for more."""

from fedstill_client.privacy.guard import PolicyGuard, PolicyRefused, TaskSize
from fedstill_client.privacy.policy import POLICY_FILE, DevicePolicy

__all__ = ["POLICY_FILE", "DevicePolicy", "PolicyGuard", "PolicyRefused", "TaskSize"]
