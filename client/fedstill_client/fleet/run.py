"""Keeps a device in its fleet: answers apps, runs the device's SuperNode, and follows the fleet's releases.

The service is in this process. The SuperNode (see supernode.py) is a child, and starts a process of its own
for each message of the server, so that a round can neither block nor crash the answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fedstill_proto.errors import FedstillError
from fedstill_proto.system.signals import EndSignals
from fedstill_proto.system.supervisor import ChildProcess, Supervisor, flower_environment

from fedstill_client.agent_types import Precision
from fedstill_client.device_description import DeviceDescription
from fedstill_client.fleet.connection import ConnectionNews
from fedstill_client.fleet.membership import Membership, MembershipError
from fedstill_client.home import DEVICE_FOLDER_VARIABLE, AgentHome
from fedstill_client.privacy.policy import adopt
from fedstill_client.releases.keeper import ReleaseKeeper
from fedstill_client.releases.watch import AnswerWatch
from fedstill_client.service.server import serve

if TYPE_CHECKING:
    from fedstill_client.packages import PackageSource

_CHECK_EVERY_S = 0.5
_UPDATE_EVERY_S = 3600.0
_UPDATE_AGAIN_S = 60.0  # after one that failed
_WANTED_AGAIN_S = 10.0  # between two that the fleet's tasks have made the device want

_OF_THE_PACKAGE = {"manifest", "agent-version", "graph", "operator", "vocabulary", "intents"}
"""What a package may fail at that a release's server should hear of; see PackageError."""

Tell = Callable[[str], None]


def run(
    home: AgentHome,
    *,
    tell: Tell,
    threads: int = 1,
    precision: Precision = "float32",
    metrics_port: int | None = None,
) -> None:
    """Serve and take part in the fleet until SIGTERM or SIGINT.

    Args:
        home: The home of an enrolled device.
        tell: Called with each line of news, for a person.
        threads: Processor threads of each answer.
        precision: The precision of the weights that answer.
        metrics_port: Where Prometheus reads /metrics, on loopback; None is nowhere.

    Raises:
        MissingExtra: Metrics need a package that is not installed.
        MembershipError: The device is in no fleet, or another process takes part for it.
    """
    membership, description = Membership.read(home), DeviceDescription.read(home.folder)
    metrics = None
    if metrics_port is not None:
        from fedstill_client.fleet.metrics import DeviceMetrics  # most devices need none of it

        metrics = DeviceMetrics(home)

    def take_part(signals: EndSignals) -> None:
        updates = Updates(home, membership, description.family, tell, installed=keeper.look)
        news = ConnectionNews(home, tell)
        with contextlib.ExitStack() as stack:
            children = stack.enter_context(Supervisor(home.folder / "children.json"))
            if metrics is not None:
                tell(f"metrics are at {stack.enter_context(metrics.served(metrics_port or 0))}")
            node = children.start(supernode(home))
            tell(f"{description.name} is in fleet {membership.run} at {membership.address}")
            while not signals.wait(_CHECK_EVERY_S):
                news.check()
                children.poll(lambda child: tell(f"{child.name} had ended; started again"))
                updates.check()
                keeper.check()
            keeper.close()
            tell(f"leaving the fleet for now; process {node.pid} is ended")

    with _run_lock(home):
        if news := adopt(home.folder):
            tell(news)
        repair_package(home, membership, description.family, tell)
        watch = AnswerWatch(home)
        keeper = ReleaseKeeper(home, watch, tell)
        serve(
            home.folder,
            threads=threads,
            precision=precision,
            on_ready=lambda at: tell(f"apps are answered at {at}"),
            until=take_part,
            interceptors=() if metrics is None else (metrics.interceptor,),
            watch=watch.answering,
        )


def supernode(home: AgentHome) -> ChildProcess:
    """The device's node over TLS, known to the server by the device's key."""
    folder = home.folder.resolve()
    # -P: what lies in the current folder is never imported.
    command = [sys.executable, "-P", "-m", "fedstill_client.fleet.supernode"]
    environment = {**flower_environment(folder / "flower"), DEVICE_FOLDER_VARIABLE: str(folder)}
    return ChildProcess("supernode", command, folder / "logs" / "supernode.log", environment)


def repair_package(home: AgentHome, membership: Membership, family: str, tell: Tell) -> None:
    """Fetch the package in use again where the disk has damaged it: nothing would answer without it."""
    from fedstill_client.packages import PackageError, load_installed
    from fedstill_client.store import PrivateStore

    with PrivateStore.open(home) as store:
        try:
            load_installed(home, store)
        except PackageError as error:
            tell(f"the installed student package cannot be used, and is fetched again: {error}")
            from fedstill_client.fleet.enrol import source_of
            from fedstill_client.packages import update

            update(home, store, source_of(home, membership), family)


class Updates:
    """Looks for a newer student package from time to time, in a thread of its own."""

    def __init__(
        self,
        home: AgentHome,
        membership: Membership,
        family: str,
        tell: Tell,
        *,
        installed: Callable[[], None] = lambda: None,
    ) -> None:
        """Look at once, at the next `check`.

        Args:
            home: The agent's home.
            membership: Its fleet.
            family: Of its student.
            tell: Called with each line of news.
            installed: Called when another package is in use.
        """
        self._home, self._membership, self._family, self._tell = home, membership, family, tell
        self._installed = installed
        self._due = self._wanted_due = time.monotonic()
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """Start a check if it is time and none is under way."""
        if self._thread is not None and self._thread.is_alive():
            return
        now = time.monotonic()
        if now < self._due and (now < self._wanted_due or not self._home.release_wanted.exists()):
            return
        self._home.release_wanted.unlink(missing_ok=True)
        self._due, self._wanted_due = now + _UPDATE_EVERY_S, now + _WANTED_AGAIN_S
        self._thread = threading.Thread(target=self._update, name="updates", daemon=True)
        self._thread.start()

    def _update(self) -> None:
        from fedstill_client.fleet.enrol import source_of
        from fedstill_client.packages import PackageError, update
        from fedstill_client.privacy.statement import read_statement
        from fedstill_client.releases.record import ReleaseRecord, change_record, read_record
        from fedstill_client.store import PrivateStore

        try:
            with PrivateStore.open(self._home) as store:
                source = source_of(self._home, self._membership)
                accepted, shunned = read_statement(self._home.folder), read_record(store).shunned
                try:
                    installed = update(
                        self._home, store, source, self._family, accepted=accepted, shunned=shunned
                    )
                except PackageError as error:
                    if error.check in _OF_THE_PACKAGE:
                        change_record(store, ReleaseRecord.with_failure)
                    raise
            if installed is not None:
                self._installed()
            news = _pinned(self._home, source, self._family)
        except FedstillError as error:
            self._due = time.monotonic() + _UPDATE_AGAIN_S
            self._tell(f"no news of student packages: {error}")
            return
        if installed is not None:
            self._tell(f"installed student package {installed.version} of {installed.family}")
            if installed.anew:
                self._tell(f"the owner's student cannot go over as it is, and is re-based: {installed.anew}")
        if news:
            self._tell(news)


def _pinned(home: AgentHome, source: PackageSource, family: str) -> str | None:
    """Hold what the fleet says now against what it said before; gives a line for the owner, if it is more."""
    from fedstill_client.privacy.statement import newer_statement, pin_statement

    waiting = newer_statement(home.folder)
    said = source.statement(family)
    beyond = pin_statement(home.folder, said)
    if not beyond or said == waiting:
        return None
    return (
        f"the fleet asks for more than it said before, and is refused: {'; '.join(map(str, beyond))}; "
        "if you want that: fedstill-agent policy --accept"
    )


@contextlib.contextmanager
def _run_lock(home: AgentHome) -> Iterator[None]:
    """One at a time, whoever serves."""
    with home.run_lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise MembershipError(
                f"{home.folder}: this device takes part already, in another process."
            ) from None
        yield
