"""The keys that sign a fleet's packages: one Ed25519 key for each role of TUF, each a file of mode 0600.

A file is named after its role and the key's id, and the repository's root metadata says which of them is
the role's. So a rotation that dies half-way leaves the old keys in force, and a new file that nobody reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fedstill_proto.system.folder_digests import FolderDigests
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from fedstill_server.publish.errors import PublishError

ROLES = ("root", "targets", "snapshot", "timestamp")


@dataclass(frozen=True)
class SigningKeys:
    """The folder of private keys, and the digests of the fleet's files."""

    folder: Path
    digests: FolderDigests

    def generate(self, role: str) -> CryptoSigner:
        """A new key, on disk before this returns; it signs nothing until the root metadata names it."""
        check_role(role)
        signer = CryptoSigner.generate_ed25519()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._file(role, signer.public_key.keyid)
        self.digests.write(path, signer.private_bytes)
        return signer

    def signer(self, role: str, root: Root) -> CryptoSigner:
        """The key that `root` names for the role; raises PublishError where it is not here."""
        check_role(role)
        for keyid in root.roles[role].keyids:
            path = self._file(role, keyid)
            if path.is_file():
                return _read(path, keyid)
        raise PublishError(
            f"{self.folder}: no private key of the role {role!r}; the repository names "
            f"{', '.join(key[:16] for key in root.roles[role].keyids)}. Bring back the file "
            f"{role}-<id>.pem from where the keys are kept safe."
        )

    def forget_others(self, root: Root) -> None:
        """Remove the keys that `root` does not name any more."""
        kept = {self._file(role, keyid) for role in ROLES for keyid in root.roles[role].keyids}
        for role in ROLES:
            for path in self.folder.glob(f"{role}-*.pem"):
                if path not in kept:
                    path.unlink(missing_ok=True)

    def _file(self, role: str, keyid: str) -> Path:
        return self.folder / f"{role}-{keyid[:16]}.pem"


def check_role(role: str) -> None:
    """Raise PublishError unless TUF has such a role."""
    if role not in ROLES:
        raise PublishError(f"role {role!r} is not one of {', '.join(ROLES)}.")


def _read(path: Path, keyid: str) -> CryptoSigner:
    if path.stat().st_mode & 0o077:
        raise PublishError(f"{path}: others may read this private key; run: chmod 600 {path}")
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PublishError(f"{path}: not a private key as PEM: {error}") from None
    signer = CryptoSigner(key) if isinstance(key, Ed25519PrivateKey) else None
    if signer is None or signer.public_key.keyid != keyid:
        raise PublishError(f"{path}: not the Ed25519 key {keyid[:16]} that the repository names.")
    return signer
