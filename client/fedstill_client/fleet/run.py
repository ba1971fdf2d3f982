"""Keeps a device in its fleet: answers apps, runs the device's SuperNode, and follows the fleet's releases.

The service is in this process, and loads the student when an app asks for the first time. The SuperNode (see
supernode.py) is a child, and starts a process of its own for each message of the server, so that a round can
neither block nor crash the answers. Between rounds, and where no app asks, both hold little (docs/device.md).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from fedstill_proto.system.signals import EndSignals
from fedstill_proto.system.supervisor import ChildProcess, Supervisor, flower_environment

from fedstill_client.agent_types import Precision
from fedstill_client.device_description import DeviceDescription
from fedstill_client.fleet.connection import ConnectionNews
from fedstill_client.fleet.membership import Membership, MembershipError
from fedstill_client.home import DEVICE_FOLDER_VARIABLE, AgentHome
from fedstill_client.privacy.most_seconds import POLICY_FILE
from fedstill_client.releases.keeper import ReleaseKeeper
from fedstill_client.releases.watch import AnswerWatch

_CHECK_EVERY_S = 0.5
_UPDATE_EVERY_S = 3600.0
_UPDATE_AGAIN_S = 60.0  # after one that failed
_WANTED_AGAIN_S = 10.0  # between two that the fleet's tasks have made the device want

Tell = Callable[[str], None]


def run(
    home: AgentHome,
    *,
    tell: Tell,
    threads: int = 1,
    precision: Precision = "float32",
    metrics_port: int | None = None,
    apps: bool = True,
) -> None:
    """Serve and take part in the fleet until SIGTERM or SIGINT.

    Args:
        home: The home of an enrolled device.
        tell: Called with each line of news, for a person.
        threads: Processor threads of each answer.
        precision: The precision of the weights that answer.
        metrics_port: Where Prometheus reads /metrics, on loopback; None is nowhere.
        apps: Whether apps are answered, at the home's socket.

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
        updates, news = Updates(home, tell, on_news=keeper.look), ConnectionNews(home, tell)
        with contextlib.ExitStack() as stack:
            children = stack.enter_context(Supervisor(home.folder / "children.json"))
            stack.enter_context(contextlib.closing(updates))
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
        if not (home.folder / POLICY_FILE).exists():
            from fedstill_client.privacy.policy import adopt

            if told := adopt(home.folder):
                tell(told)
        repair_package(home, tell)
        watch = AnswerWatch(home)
        keeper = ReleaseKeeper(home, watch, tell)
        if not apps:
            with EndSignals() as signals:
                take_part(signals)
            return
        # gRPC is not loaded where nobody asks.
        from fedstill_client.service.server import serve

        serve(
            home.folder,
            threads=threads,
            precision=precision,
            on_ready=lambda at: tell(f"apps are answered at {at}"),
            until=take_part,
            interceptors=() if metrics is None else (metrics.interceptor,),
            watch=watch.answering,
            at_once=False,
        )


def supernode(home: AgentHome) -> ChildProcess:
    """The device's node over TLS, known to the server by the device's key."""
    folder = home.folder.resolve()
    # -P: what lies in the current folder is never imported.
    command = [sys.executable, "-P", "-m", "fedstill_client.fleet.supernode"]
    environment = {**flower_environment(folder / "flower"), DEVICE_FOLDER_VARIABLE: str(folder)}
    return ChildProcess("supernode", command, folder / "logs" / "supernode.log", environment)


class Updates:
    """Looks for another student package from time to time, each time in a process of its own (update.py)."""

    def __init__(self, home: AgentHome, tell: Tell, *, on_news: Callable[[], None] = lambda: None) -> None:
        """Look at once, at the next `check`.

        Args:
            home: The agent's home.
            tell: Called with each line of news.
            on_news: Called when there was some: another package is in use, perhaps.
        """
        self._home, self._tell, self._on_news = home, tell, on_news
        self._due = self._wanted_due = time.monotonic()
        self._looking: subprocess.Popen[str] | None = None

    def check(self) -> None:
        """Start a look if it is time and none is under way; tell what the last one has found."""
        if self._looking is not None and self._looking.poll() is None:
            return
        now = time.monotonic()
        if self._looking is not None:
            self._ended(self._looking, now)
        if now < self._due and (now < self._wanted_due or not self._home.release_wanted.exists()):
            return
        self._home.release_wanted.unlink(missing_ok=True)
        self._due, self._wanted_due = now + _UPDATE_EVERY_S, now + _WANTED_AGAIN_S
        self._looking = _update_process(self._home)

    def close(self) -> None:
        """End a look that is under way: the package in use stays."""
        if self._looking is not None:
            self._looking.kill()
            self._looking.communicate()

    def _ended(self, looking: subprocess.Popen[str], now: float) -> None:
        self._looking = None
        said = looking.communicate()[0]
        _tell_lines(said, self._tell)
        if said:
            self._on_news()
        if looking.returncode != 0:
            self._due = now + _UPDATE_AGAIN_S


def repair_package(home: AgentHome, tell: Tell) -> None:
    """Fetch the package in use again where the disk has damaged it; MembershipError says why not."""
    repairing = _update_process(home, "--repair")
    said = repairing.communicate()[0]
    if repairing.returncode != 0:
        raise MembershipError(said.strip() or f"{home.folder}: its package cannot be looked at")
    _tell_lines(said, tell)


def _update_process(home: AgentHome, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "fedstill_client.fleet.update", *options]
    environment = {**os.environ, DEVICE_FOLDER_VARIABLE: str(home.folder.resolve())}
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment
    )


def _tell_lines(said: str, tell: Tell) -> None:
    for line in said.splitlines():
        tell(line)


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
