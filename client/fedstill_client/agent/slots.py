"""The slots of utterances by an agent: its package's tagger, and the names that its owner has declared."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.text.slots import NAMES_LIMIT_BYTES, HomeNames, SlotValue

from fedstill_client.model.slots import SlotFinder


class HomeNamesError(FedstillError):
    """The file of a home's names cannot be read or written."""


def read_home_names(file: Path) -> HomeNames:
    """The names in a file, none where there is no file; raises HomeNamesError with field and value."""
    try:
        with file.open("rb") as opened:
            return HomeNames.from_json(opened.read(NAMES_LIMIT_BYTES + 1))
    except FileNotFoundError:
        return HomeNames()
    except OSError as error:
        raise HomeNamesError(f"{file}: cannot be read: {error.strerror}") from None
    except FedstillError as error:
        raise HomeNamesError(f"{file}: {error}") from None


@dataclass
class AgentSlots:
    """Finds slots, with the names as they are declared now."""

    package: StudentPackage
    names_file: Path
    _finder: SlotFinder | None = field(default=None, init=False)
    _read: tuple[int, int] | None = field(default=None, init=False)  # when the file changed, and its size

    def slots(self, text: str) -> tuple[SlotValue, ...]:
        """The slots of an utterance; none where the package has no tagger. Raises FedstillError."""
        if self.package.slots is None:
            return ()
        standing = self._standing()
        if self._finder is None or standing != self._read:
            names = read_home_names(self.names_file)
            self._finder = SlotFinder.of_package(self.package, names)
            self._read = standing
        return () if self._finder is None else self._finder.slots(text)

    def _standing(self) -> tuple[int, int]:
        try:
            found = self.names_file.stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_size
