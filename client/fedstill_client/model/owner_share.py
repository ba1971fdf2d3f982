"""The share of an app's questions that are like its owner's examples (see label_prior.py)."""

from __future__ import annotations

from fedstill_proto.errors import FedstillError

OWNER_SHARE = 0.3  # chosen on digits and mnist1d, seeds 0 to 2, Dirichlet 0.1 and 1


def check_owner_share(value: object) -> float:
    """`value` if it is the share of an app's questions that are like its owner's examples: 0 (off) to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise FedstillError(
            f"owner_share is {value!r}; give a number from 0 (no label prior) to 1 (all of it)."
        )
    return float(value)
