"""The digests of files that cannot hold their own: keys, certificates, arrays that came from elsewhere.

<folder>/digests.json names the SHA-256 of each, and holds its own. A digest is written down before its file
is replaced, beside the one before: whoever is killed in between leaves a file that is one of the two.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.system.files import PRIVATE, replace_file
from fedstill_proto.system.sealed import DamagedFile, read_sealed_json, write_sealed_json

DIGESTS_FILE = "digests.json"


@dataclass(frozen=True)
class FolderDigests:
    """The digests of files in a folder, and in the folders in it."""

    folder: Path

    def write(self, path: Path, content: bytes, *, mode: int = PRIVATE) -> None:
        """Write a file whole, and its digest before it.

        Args:
            path: The file, in the folder.
            content: Its new content.
            mode: The permissions of a new file; see `replace_file`.

        Raises:
            DamagedFile: The list of digests is damaged.
            OSError: The file cannot be written.
        """
        self._note(path, content)
        replace_file(path, content, mode=mode)

    def take_as_they_are(self, paths: Iterable[Path]) -> None:
        """Write down the digests of files as they are now, whatever they were before."""
        found = {self._name(path): [_digest(path.read_bytes())] for path in paths}
        with self._locked():
            write_sealed_json(self.folder / DIGESTS_FILE, found)

    def problems(self) -> list[str]:
        """What is damaged, in words; a file that is not there is not missed here.

        Raises:
            DamagedFile: The list of digests itself is.
        """
        problems = []
        for name, digests in self._known().items():
            path = self.folder / name
            if path.is_file() and _digest(path.read_bytes()) not in digests:
                problems.append(
                    f"{path}: damaged: its bytes are not those that were written (SHA-256). If you have "
                    f"changed it yourself, run: fedstill-server seal {self.folder}; else restore it from a "
                    "backup."
                )
        return problems

    def check(self) -> None:
        """Check every file that is there; raises DamagedFile, which names the first that is damaged."""
        if problems := self.problems():
            raise DamagedFile(problems[0])

    def _note(self, path: Path, content: bytes) -> None:
        with self._locked():
            known = self._known() if (self.folder / DIGESTS_FILE).exists() else {}
            before = [digest for digest in known.get(self._name(path), []) if digest != _digest(content)]
            known[self._name(path)] = [*before[-1:], _digest(content)]
            write_sealed_json(self.folder / DIGESTS_FILE, known)

    def _known(self) -> dict[str, list[str]]:
        path = self.folder / DIGESTS_FILE
        remedy = f"if all files are as they should be, run: fedstill-server seal {self.folder}"
        try:
            known: dict[str, list[str]] = read_sealed_json(path, remedy=remedy)
        except FileNotFoundError:
            raise DamagedFile(
                f"{path}: missing: lost, or this folder is an earlier release's; {remedy}."
            ) from None
        return known

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".digests.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
