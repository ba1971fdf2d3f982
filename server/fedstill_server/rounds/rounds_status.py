"""Whether a round of a fleet runs, or what the next one waits for: one small file, written as that changes.

FLEET/rounds.json is for whoever looks on (up, the console, the SuperLink's guard); no round needs it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from fedstill_proto.system.sealed import DamagedFile, read_sealed_json, write_sealed_json

from fedstill_server.config.codec import ConfigError, from_json

STATUS_FILE = "rounds.json"


@dataclass(frozen=True, kw_only=True)
class RoundsStatus:
    """How the rounds of a fleet stand; times are seconds since 1970.

    Attributes:
        round: The round that runs, or the next one.
        waiting_for: As RoundAwaited.reason; empty while a round runs; "end" where there are no more.
        text: The same for a person.
        until: When the wait ends; None where nobody can know.
        next_window_at: When the next window opens; in the past while one is open, None where none is known.
        since: When this came about.
    """

    round: int
    waiting_for: str
    text: str
    until: float | None = None
    next_window_at: float | None = None
    since: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> RoundsStatus | None:
        """How the rounds of the fleet in `folder` stand; None where there was none, or nobody can read it."""
        path = folder / STATUS_FILE
        try:
            return from_json(cls, read_sealed_json(path), where=str(path))
        except (FileNotFoundError, DamagedFile, ConfigError):
            return None

    def write(self, folder: Path) -> None:
        """Replace the file."""
        write_sealed_json(folder / STATUS_FILE, asdict(self))
