"""A PostgreSQL server in a temporary folder, on loopback; it can be stopped, killed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PLACES = ("/usr/lib/postgresql", "/usr/local/pgsql")


class MissingProgram(Exception):
    """A program that is not fedstill's is not installed."""


def _program(name: str) -> str | None:
    found = shutil.which(name)
    if found is not None:
        return found
    return next((str(path) for place in _PLACES for path in sorted(Path(place).glob(f"*/bin/{name}"))), None)


@dataclass(frozen=True)
class PostgreSQL:
    """A server: its data, its port, and whom it runs as."""

    folder: Path
    port: int
    user: str | None

    @property
    def address(self) -> str:
        """Return the address of its database."""
        return f"postgresql://fedstill@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -F -c fsync=off -c full_page_writes=off"
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-o", options, "-l", self._log, "start")

    @property
    def pid(self) -> int:
        """Return the process id of its first process."""
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")

    def _run(self, name: str, *arguments: str) -> None:
        program = _program(name)
        assert program is not None
        subprocess.run(
            [program, *arguments], check=True, user=self.user, stdout=subprocess.DEVNULL, cwd=self.folder
        )

    @property
    def _log(self) -> str:
        return str(self.folder / "log")


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Bring up a server; raises MissingProgram where PostgreSQL is not installed."""
    if _program("initdb") is None or _program("pg_ctl") is None:
        raise MissingProgram("PostgreSQL (initdb, pg_ctl) is not installed")
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.getuid() == 0 else None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Directly below the system's folder: sockets need short paths, and another user has to get there.
    folder = Path(tempfile.mkdtemp(prefix="fs-pg-", dir="/tmp"))
    try:
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        server = PostgreSQL(folder, port, user)
        server._run("initdb", "-D", str(folder / "data"), "-U", "fedstill", "-A", "trust", "--no-sync")
        server.start()
        try:
            yield server
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
