"""The metadata of a repository on disk: read the release in force, write the next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from fedstill_proto.system.files import SHARED, replace_file
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from fedstill_server.publish.errors import PublishError

LIFETIMES = {
    "root": timedelta(days=365),
    "targets": timedelta(days=365),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(days=7),
}
"""For how long a device believes a role's word; the timestamp's bounds how long news can be kept from it."""

_KEPT_RELEASES = 2

Role = TypeVar("Role", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True)
class MetadataFiles:
    """<n>.root.json, <n>.targets.json, <n>.snapshot.json and timestamp.json in `folder`."""

    folder: Path

    def has_root(self) -> bool:
        return any(self.folder.glob("*.root.json"))

    def root(self) -> Root:
        """The newest root; raises PublishError, also where its own keys have not signed it as it is."""
        path = self._root_file()
        metadata = _decoded(path, Root)
        return _signed_by(metadata.signed, metadata, path)

    def root_bytes(self) -> bytes:
        return self._root_file().read_bytes()

    def read(self, kind: type[Role]) -> Role:
        """The metadata that the timestamp in force leads to; before the first release, an empty one of
        version 0.

        Raises:
            PublishError: A file is missing, or is not what the fleet's keys signed: it is not signed again.
        """
        timestamp_file = self.folder / "timestamp.json"
        if not timestamp_file.exists():
            return empty(kind)
        timestamp = self._signed(timestamp_file, Timestamp)
        if kind is Timestamp:
            return timestamp
        snapshot = self._signed(self.folder / f"{timestamp.snapshot_meta.version}.snapshot.json", Snapshot)
        if kind is Snapshot:
            return snapshot
        return self._signed(self.folder / f"{snapshot.meta['targets.json'].version}.targets.json", kind)

    def write(self, signed: Role, signers: Iterable[CryptoSigner], *, now: datetime) -> None:
        """Write the next version of `signed`, signed by all of `signers`; on disk when this returns."""
        signed.version += 1
        signed.expires = now + LIFETIMES[signed.type]
        metadata = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        name = "timestamp.json" if isinstance(signed, Timestamp) else f"{signed.version}.{signed.type}.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / name, metadata.to_bytes(JSONSerializer(compact=False)), mode=SHARED)

    def described(self, signed: Snapshot | Targets) -> MetaFile:
        """Version, length and digest of a file as it was written: devices accept no other bytes for it."""
        content = (self.folder / f"{signed.version}.{signed.type}.json").read_bytes()
        return MetaFile.from_data(signed.version, content, ["sha256"])

    def remove_old(self, kind: type[Snapshot | Targets], version: int) -> None:
        """Keep the release of this version and the one before, which devices may just be reading."""
        for path in self.folder.glob(f"*.{kind.type}.json"):
            number = path.name.split(".")[0]
            if number.isdecimal() and int(number) <= version - _KEPT_RELEASES:
                path.unlink(missing_ok=True)

    def problems(self) -> list[str]:
        """The files that no root here has signed as they are, in words: keys rotate, and old files stay."""
        problems = []
        paths = sorted(self.folder.glob("*.json"))
        roots = [self._sound_root(path) for path in paths if path.name.endswith(".root.json")]
        for path in paths:
            try:
                metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
                signed = metadata.to_bytes(JSONSerializer(compact=False)) == path.read_bytes()
                # Digits of either case say the same, and we write small ones.
                signed = signed and all(one.signature.islower() for one in metadata.signatures.values())
                signed = signed and any(_has_signed(root, metadata) for root in roots if root is not None)
            except (OSError, ValueError, RepositoryError):
                signed = False
            if not signed:
                problems.append(
                    f"{path}: damaged: not what the fleet's keys signed; publish again, or restore it from a "
                    "backup"
                )
        return problems

    def _signed(self, path: Path, kind: type[Role]) -> Role:
        return _signed_by(self.root(), _decoded(path, kind), path)

    def _sound_root(self, path: Path) -> Root | None:
        """A root that its own keys have signed."""
        try:
            metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
        except (OSError, ValueError, RepositoryError):
            return None
        root = metadata.signed
        return root if isinstance(root, Root) and _has_signed(root, metadata) else None

    def _root_file(self) -> Path:
        numbers = [path.name.split(".")[0] for path in self.folder.glob("*.root.json")]
        newest = max((int(number) for number in numbers if number.isdecimal()), default=0)
        if newest == 0:
            raise PublishError(
                f"{self.folder}: no repository of packages here; fedstill-server init makes a fleet with one."
            )
        return self.folder / f"{newest}.root.json"


def empty(kind: type[Role]) -> Role:
    """Metadata that was never written: the first to be written is version 1."""
    signed = kind()
    signed.version = 0
    return signed


def _has_signed(root: Root, metadata: Metadata[Any]) -> bool:
    try:
        root.verify_delegate(metadata.signed.type, metadata.signed_bytes, metadata.signatures)
    except (UnsignedMetadataError, ValueError):
        return False
    return True


def _signed_by(root: Root, metadata: Metadata[Role], path: Path) -> Role:
    if not _has_signed(root, metadata):
        raise PublishError(
            f"{path}: damaged: not what the fleet's keys signed; restore it from a backup, or from a device "
            "or mirror that has it"
        )
    return metadata.signed


def _decoded(path: Path, kind: type[Role]) -> Metadata[Role]:
    try:
        metadata: Metadata[Role] = Metadata.from_bytes(path.read_bytes())
    except (OSError, RepositoryError) as error:
        raise PublishError(f"{path}: cannot be read as metadata of the repository: {error}") from None
    if not isinstance(metadata.signed, kind):
        raise PublishError(f"{path}: holds the metadata of the role {metadata.signed.type!r}.")
    return metadata
