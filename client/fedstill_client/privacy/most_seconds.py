"""How long a round may take after the policy: for the process that waits, without the rest of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

POLICY_FILE = "policy.json"
USUAL_SECONDS = 600.0


def most_seconds(folder: Path) -> float:
    """The rule `most_seconds` of a home's policy; where it cannot be read, which the round finds out, 600."""
    try:
        seconds = float(json.loads((folder / POLICY_FILE).read_bytes())["most_seconds"])
    except (OSError, ValueError, TypeError, LookupError):
        return USUAL_SECONDS
    return seconds if math.isfinite(seconds) and seconds > 0 else USUAL_SECONDS
