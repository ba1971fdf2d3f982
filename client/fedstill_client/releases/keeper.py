"""Has a package tried and the owner's student re-based while the agent serves, and goes back where it fails.

The work is done in a process of its own (see rebasing.py). A package that has ended two processes, in the
middle of an answer or of that work, is not answered from any more: the one before it takes its place, and the
report to the fleet's server says so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from fedstill_proto.errors import FedstillError

from fedstill_client.eligibility import Eligibility
from fedstill_client.home import DEVICE_FOLDER_VARIABLE, AgentHome
from fedstill_client.packages.install import go_back
from fedstill_client.releases.record import ReleaseRecord, change_record, read_record, rebase_is_due
from fedstill_client.releases.watch import AnswerWatch
from fedstill_client.store import PrivateStore

_AGAIN_S, _SELDOM_S = 60.0, 600.0
_LONGEST_TRIAL_S = 300.0
_MOST_CRASHES = 2
_FAILED = 4  # see rebasing.py
_ENDED_BY_OTHERS = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}

Tell = Callable[[str], None]


class ReleaseKeeper:
    """Looks after the package in use of one home."""

    def __init__(self, home: AgentHome, watch: AnswerWatch, tell: Tell) -> None:
        """Count what the process before has left.

        Args:
            home: The agent's home.
            watch: The watch of the service.
            tell: Called with each line of news.
        """
        self._home, self._watch, self._tell = home, watch, tell
        self._process: subprocess.Popen[str] | None = None
        self._due = time.monotonic()
        crashed_with = watch.take_crash()
        with PrivateStore.open(home) as store:
            version = read_record(store).package_version
        watch.use(version)
        if crashed_with == version:
            self._crashed("an answer")
        self._try_first()

    def look(self) -> None:
        """Have it looked after soon: another package is in use."""
        self._due = time.monotonic()

    def check(self) -> None:
        """Start what is due, and take what has ended; called again and again."""
        try:
            self._check()
        except FedstillError as error:  # the disk is full, say: the answers go on
            self._due = time.monotonic() + _AGAIN_S
            self._tell(f"the package cannot be looked after now: {error}")

    def _check(self) -> None:
        if self._process is not None:
            if self._process.poll() is not None:
                ended, self._process = self._process, None
                self._ended(ended)
            return
        if time.monotonic() < self._due:
            return
        with PrivateStore.open(self._home) as store:
            record, is_due = read_record(store), rebase_is_due(store)
        self._watch.use(record.package_version)
        is_new = record.before_version > 0 and not record.tried
        self._due = time.monotonic() + (_AGAIN_S if is_new or is_due else _SELDOM_S)
        # To try it and to count takes a moment; to learn waits until the device may.
        is_uncounted = is_due and record.counts is None
        if is_new or is_uncounted or (is_due and Eligibility(self._home.folder)() is None):
            self._process = self._started()

    def _try_first(self) -> None:
        """Try a package that nobody has tried yet before anything answers from it."""
        for _ in range(_MOST_CRASHES):
            with PrivateStore.open(self._home) as store:
                record = read_record(store)
            if record.tried or not record.before_version:
                return
            process = self._started()
            try:
                process.wait(_LONGEST_TRIAL_S)
            except subprocess.TimeoutExpired:
                process.kill()
            self._ended(process)

    def close(self) -> None:
        """End the process, if there is one; what it did is done another time."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _started(self) -> subprocess.Popen[str]:
        environment = {**os.environ, DEVICE_FOLDER_VARIABLE: str(self._home.folder.resolve())}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "fedstill_client.releases.rebasing"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def _ended(self, process: subprocess.Popen[str]) -> None:
        said, _ = process.communicate()
        if process.returncode == _FAILED or process.returncode < 0:
            if process.returncode in _ENDED_BY_OTHERS:
                return
            self._crashed(f"its trial ({said.strip() or process.returncode})")
            self._due = time.monotonic()
        elif said.strip():
            self._tell(said.strip())

    def _crashed(self, during: str) -> None:
        with PrivateStore.open(self._home) as store:
            record = change_record(store, ReleaseRecord.with_crash)
            self._tell(f"package {record.package_version} failed during {during}")
            if record.crashes >= _MOST_CRASHES:
                self._go_back(store, record)

    def _go_back(self, store: PrivateStore, record: ReleaseRecord) -> None:
        failed = record.package_version
        for earlier in reversed(store.installations()):
            if earlier.version == record.before_version:
                change_record(store, lambda found: found.shunning(failed))
                try:
                    go_back(self._home, store, earlier)
                except FedstillError as error:
                    self._tell(f"package {earlier.version} cannot be gone back to: {error}")
                    return
                self._watch.use(earlier.version)
                self._tell(f"package {failed} is not used here any more; package {earlier.version} is")
                return
