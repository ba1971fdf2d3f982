"""How a student and its teacher are asked where they part."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_server.config.options import option
from fedstill_server.inspection.options import FLOAT32, FORMS


@dataclass(frozen=True, kw_only=True)
class PartingOptions:
    """What `fedstill-server parting` may be asked."""

    form: str = option(FLOAT32, "The form of the graph that is asked.", choices=FORMS)
    rows: int = option(0, "Test examples at most; 0 is all, and of text as many as take seconds.", least=0)
    examples: int = option(20, "How many of those furthest apart are listed.", least=1)
