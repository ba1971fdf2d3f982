"""The last tasks that a device refused, noted in its ledger: when, which round, and why."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

from fedstill_proto.refusal import Refusal

from fedstill_client.store.ledger import Ledger

_NOTE, _KEPT, _LONGEST = "refusals", 20, 500


@dataclass(frozen=True, kw_only=True)
class RefusedTask:
    """A task that was refused.

    Attributes:
        at: When, in seconds since 1970.
        run: The task's run; Flower's number of it, where the task was not even fetched.
        round: The task's round; 0 where it was not fetched.
        text: The rule, the value and the bound; or what else stood in the way.
        word: The word that the server got (fedstill_proto.refusal).
    """

    at: float
    run: str
    round: int
    text: str
    word: str = Refusal.POLICY.word


def note_refusal(
    ledger: Ledger, text: str, *, run: str, round: int, refusal: Refusal = Refusal.POLICY
) -> None:
    """Note a refusal; the last 20 are kept."""
    refused = RefusedTask(at=time.time(), run=run, round=round, text=text[:_LONGEST], word=refusal.word)

    def with_this(kept: str) -> str:
        return json.dumps([*(json.loads(kept) if kept else []), asdict(refused)][-_KEPT:])

    ledger.change_note(_NOTE, with_this)


def last_refusals(ledger: Ledger) -> list[RefusedTask]:
    """The last refusals, first to last."""
    kept = ledger.noted(_NOTE)
    return [RefusedTask(**one) for one in json.loads(kept)] if kept else []
