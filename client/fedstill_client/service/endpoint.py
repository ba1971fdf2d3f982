"""The agent's socket: one service for a home, open to the home's owner alone.

The kernel lets nobody but the owner (and root) connect: the socket is made with mode 0600, in a folder of
mode 0700. gRPC for Python does not tell a service who its peer is, so this is the whole of the check.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedstill_client.agent_types import AgentError, AgentUnavailable
from fedstill_client.home import AgentHome, HomeError

LOCK_FILE = "agent.lock"
_PATH_LIMIT_BYTES = 107  # of a Unix socket's path on Linux: sun_path, less its closing zero


def check_private(home: AgentHome) -> None:
    """Raises HomeError where the folder is not there, not this user's, or open to others."""
    try:
        status = home.folder.stat()
    except OSError as error:
        raise HomeError(f"{home.folder}: there is no agent's home: {error.strerror}.") from None
    if status.st_uid != os.geteuid():
        raise HomeError(
            f"{home.folder}: belongs to user {status.st_uid}, this is user {os.geteuid()}; "
            "run the agent as the user that the home belongs to."
        )
    if status.st_mode & 0o077:
        raise HomeError(
            f"{home.folder}: others may look into it (mode {status.st_mode & 0o777:o}); "
            f"run: chmod 700 {home.folder}"
        )


def check_path(path: Path) -> str:
    """gRPC's address of the socket; raises AgentError where the path is longer than a socket's may be."""
    length = len(os.fsencode(path.absolute()))
    if length > _PATH_LIMIT_BYTES:
        raise AgentError(
            f"{path}: a socket's path has {_PATH_LIMIT_BYTES} bytes at most, this one {length}; "
            "give the agent a home with a shorter path."
        )
    return f"unix:{path.absolute()}"


def check_socket(path: Path) -> str:
    """gRPC's address of another process's socket, once it is known to be the same user's own."""
    address = check_path(path)
    try:
        status = path.lstat()
    except OSError as error:
        raise AgentUnavailable(
            f"{path}: no agent answers ({error.strerror}); start one with: "
            f"fedstill-agent serve --home {path.parent}"
        ) from None
    if not stat.S_ISSOCK(status.st_mode):
        raise AgentUnavailable(f"{path}: is not a socket; name the agent's home, or its agent.sock.")
    if status.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:
        raise AgentUnavailable(f"{path}: belongs to user {status.st_uid}, not to you; it is not your agent.")
    return address


def is_listening(path: Path) -> bool:
    """Whether a process listens at the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True  # it is there and slow
        except OSError:
            return False
    return True


@contextmanager
def serving_lock(home: AgentHome) -> Iterator[str]:
    """Hold the lock of a home's service, and give the address to listen at.

    Raises AgentError where another service holds it.

    The lock ends with the process, so that what a killed service leaves behind is known to be dead.
    """
    check_private(home)
    address = check_path(home.socket)
    handle = os.open(home.folder / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AgentError(f"{home.folder}: an agent serves this home already; stop it first.") from None
        _remove_stale(home.socket)
        yield address
        home.socket.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _remove_stale(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise AgentError(f"{path}: is not a socket; move it away, the agent's socket belongs there.")
    if is_listening(path):
        raise AgentError(f"{path}: another process answers there; stop it first.")
    path.unlink()
