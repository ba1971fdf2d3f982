"""The key of an encrypted private store: in the system's keyring, or in a file for the owner's eyes only."""

from __future__ import annotations

import secrets
from pathlib import Path

from fedstill_proto.system.extras import explain_missing
from fedstill_proto.system.files import replace_file

from fedstill_client.home import AgentHome, Encryption, check_encryption
from fedstill_client.model.student_store import DeviceStoreError

KEY_BYTES = 32
_SERVICE = "fedstill"


def key_file(home: AgentHome) -> Path:
    """Where the key is kept with encryption "key-file"."""
    return home.folder / "store.key"


def keyring_marker(home: AgentHome) -> Path:
    """A file that is there where the key is in the keyring; it holds the name that it has there."""
    return home.folder / "store.keyring"


def make_key(home: AgentHome, encryption: Encryption) -> bytes | None:
    """Draw and keep a key for a new store; None where nothing is to be encrypted.

    A key that is there, since the power failed before its store was made, is taken.
    """
    check_encryption(encryption)
    for kind, file in (("key-file", key_file(home)), ("keyring", keyring_marker(home))):
        if file.exists() and encryption == kind:
            return find_key(home)
        if file.exists():
            raise DeviceStoreError(
                f'{file}: is the key of a store with encryption "{kind}", not "{encryption}"; give "{kind}", '
                "or delete the file if no store needs it."
            )
    if encryption == "off":
        return None
    key = secrets.token_bytes(KEY_BYTES)
    if encryption == "key-file":
        _write_private(key_file(home), key.hex())
        return key
    name = str(home.folder.resolve())
    _keyring_call("set_password", _SERVICE, name, key.hex())
    _write_private(keyring_marker(home), name)
    return key


def find_key(home: AgentHome) -> bytes | None:
    """The key that `make_key` kept; None for a store that is not encrypted."""
    file, marker = key_file(home), keyring_marker(home)
    if file.exists():
        return _parsed(_read_private(file), str(file))
    if not marker.exists():
        return None
    name = _read_private(marker)
    kept = _keyring_call("get_password", _SERVICE, name)
    if kept is None:
        raise DeviceStoreError(
            f"{home.store}: its key {name!r} is not in the system's keyring; unlock the keyring of the user "
            "who made the store."
        )
    return _parsed(kept, f"the keyring's {name!r}")


def _keyring_call(function: str, *arguments: str) -> str | None:
    with explain_missing("a key in the system's keyring"):
        import keyring
        import keyring.errors
    try:
        answer = getattr(keyring, function)(*arguments)
    except (keyring.errors.KeyringError, RuntimeError) as error:
        raise DeviceStoreError(
            f"the system's keyring cannot be used: {str(error).splitlines()[0]} "
            'Keep the key in a file instead: encryption "key-file".'
        ) from None
    return answer if isinstance(answer, str) else None


def _parsed(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise DeviceStoreError(f"{where}: holds no key of {2 * KEY_BYTES} hexadecimal digits.")
    return key


def _write_private(file: Path, text: str) -> None:
    try:
        replace_file(file, text.encode())
    except OSError as error:
        raise DeviceStoreError(f"{file}: cannot be written: {error.strerror}.") from None


def _read_private(file: Path) -> str:
    check_private(file)
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceStoreError(f"{file}: cannot be read: {error}.") from None


def check_private(file: Path) -> None:
    """Refuse a file that other users may read or write."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise DeviceStoreError(f"{file}: cannot be read: {error.strerror}.") from None
    if mode & 0o077:
        raise DeviceStoreError(f"{file}: others may open it (mode {mode & 0o777:o}); run: chmod 600 {file}")
