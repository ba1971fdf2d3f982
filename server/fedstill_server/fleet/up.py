"""Serves a fleet: starts its processes, lets registered devices in, starts the run, and keeps all of them
alive.

Whatever dies is started again: the SuperLink finds its messages in its database, the run goes on after its
last committed round. A failed run is started anew as long as rounds are left.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.signals import EndSignals
from fedstill_proto.system.supervisor import ChildProcess, Supervisor

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.fleet.certificates import renew_server_certificate
from fedstill_server.fleet.devices import DeviceRegister, RegisteredDevice
from fedstill_server.fleet.enrolled import publish_devices
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.flower import Control, FlowerNode, RunStatus, superexec, superlink
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.fleet.generations import config_in_force, is_switching
from fedstill_server.fleet.nodes import write_nodes
from fedstill_server.fleet.proxy import proxy
from fedstill_server.fleet.releasing import (
    ReleaseNotes,
    controller_of,
    switched_off,
    take_students_over,
)
from fedstill_server.fleet.replication import Replication
from fedstill_server.fleet.sightings import NodeFacts
from fedstill_server.publish.repository import Repository
from fedstill_server.releases.release import ReleaseFolder
from fedstill_server.rounds.roster import RegisteredNode
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.rounds_status import RoundsStatus
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.run_folder import read_generation

_LOOK_EVERY_S = 2.0
_REFRESH_EVERY_S = 24 * 3600.0
_START_WITHIN_S = 60.0
_PAUSE_BEFORE_NEW_RUN_S = 5.0


@dataclasses.dataclass(frozen=True)
class Watch:
    """What is called as things happen.

    Attributes:
        on_text: With an event in words.
        on_round: With the record of each round, and the number of rounds; None where they have no end.
        on_processes: With the process of each program, by name.
    """

    on_text: Callable[[str], None] = lambda text: None
    on_round: Callable[[RoundRecord, int | None], None] = lambda record, rounds: None
    on_processes: Callable[[dict[str, int]], None] = lambda pids: None


class FleetUp:
    """A fleet that is up; `run` returns when its rounds are done or a signal comes."""

    def __init__(self, fleet: FleetFolder, watch: Watch, *, beside: Sequence[ChildProcess] = ()) -> None:
        """Look at a fleet that is prepared.

        Args:
            fleet: Its folder.
            watch: What is called as things happen.
            beside: Programs to start and keep alive beside its own.
        """
        self._fleet, self._watch, self._beside = fleet, watch, beside
        self._register = DeviceRegister(fleet.devices)
        self._store = RunStore(fleet.folder)
        self._never_again: set[str] = set()  # keys that Flower takes no more
        self._node_facts = NodeFacts(fleet.folder, watch.on_text)
        self._notes = ReleaseNotes(fleet.folder, watch.on_text)
        self._releases = controller_of(fleet.folder, self._notes)
        self._release_trouble = ""
        self._was_off = False
        self._admitted: dict[int, RegisteredNode] | None = None  # as written down
        self._reported = 0  # rounds
        self._told = ""  # what the rounds wait for
        self._refreshed = 0.0
        self._start_again_at = 0.0
        self._read_config()

    def run(self, signals: EndSignals, *, stay: bool = True) -> None:
        """Serve until a signal comes.

        Args:
            signals: The signals that end it.
            stay: Whether to go on serving devices when the last round is done.

        Raises:
            FleetError: Something that it needs is missing, or a program does not start.
        """
        if not stay and config_in_force(self._fleet.folder).continuous:
            raise FleetError(
                "--exit-when-done: the rounds of this fleet have no end; leave it out, or prepare --rounds"
            )
        with ExitStack() as stack:
            stack.callback(self._store.close)
            stack.callback(self._node_facts.close)
            stack.callback(self._notes.close)
            stack.enter_context(self._fleet.held())
            replication = stack.enter_context(Replication(self._fleet, self._watch.on_text).held())
            self._check()
            children = stack.enter_context(Supervisor(self._fleet.logs / "children.json"))
            self._start(children, signals)
            control = stack.enter_context(Control.of(self._fleet))
            while not signals.wait(_LOOK_EVERY_S):
                children.poll(self._started_again)
                replication.look()
                self._refresh()
                self._lead_release()
                try:
                    self._follow_generation(control)
                    self._follow_kill_switch(control)
                    self._admit_devices(control)
                    run = self._supervise_run(control)
                except (httpx.HTTPError, ConnectionError) as error:
                    self._watch.on_text(f"the SuperLink does not answer ({type(error).__name__})")
                    run = None
                self._report_rounds()
                if self._rounds_left() > 0:
                    self._report_waiting()
                elif (run is None or run.is_over) and not self._has_work():
                    self._report_end()
                    if run is not None and run.is_completed and not stay:
                        return

    def _check(self) -> None:
        """Check what must be there, and as it was written, before a process is started."""
        self._fleet.digests.check()
        self._read_config()
        if renew_server_certificate(self._fleet):
            self._watch.on_text("made a new server certificate")
        Repository.open(self._fleet.folder)
        if not Repository.open(self._fleet.folder).published():
            raise FleetError(f"no student is published; run: fedstill-server publish {self._fleet.folder}")
        publish_devices(self._fleet.folder)

    def _read_config(self) -> None:
        self._config = config_in_force(self._fleet.folder)

    def _start(self, children: Supervisor, signals: EndSignals) -> None:
        started = [children.start(superlink(self._fleet))]
        self._wait_for_superlink(started[0], signals)
        started.append(children.start(superexec(self._fleet)))
        if self._fleet.settings.proxy:
            started.append(children.start(self._proxy()))
        started += [children.start(program) for program in self._beside]
        self._watch.on_processes({child.name: child.pid or 0 for child in started})

    def _proxy(self) -> ChildProcess:
        """What stands in front of the SuperLink."""
        return proxy(self._fleet)

    def _wait_for_superlink(self, child: ChildProcess, signals: EndSignals) -> None:
        end = time.monotonic() + _START_WITHIN_S
        with Control.of(self._fleet) as control:
            while not signals.wait(0.2):
                try:
                    for run in control.runs():
                        if not run.is_over:  # its ServerApp ended with the fleet that was up before
                            control.stop_run(run.run_id)
                    return
                except (httpx.HTTPError, ConnectionError):
                    if not child.is_running() or time.monotonic() > end:
                        raise FleetError(
                            f"the SuperLink does not start; {child.log} ends with:\n{child.log_tail()}"
                        ) from None

    def _started_again(self, child: ChildProcess) -> None:
        self._watch.on_text(f"{child.name} had ended; started again (process {child.pid})")

    def _admit_devices(self, control: Control) -> None:
        """Let in whom the operator has registered, and nobody else."""
        nodes, admitted, facts, let_in = control.nodes(), {}, {}, []
        before = {each.name for each in (self._admitted or {}).values()}
        for device in self._register.all():
            node = nodes.pop(device.key_bytes, None)
            is_new = node is None
            if node is None and (node := self._node_of(control, device)) is None:
                continue
            admitted[node.node_id] = RegisteredNode(device.name, node.activated_at, device.relay_devices)
            facts[device.name] = node
            if is_new or (self._admitted is not None and device.name not in before):
                self._watch.on_text(f"let {device.name} in (node {node.node_id})")
                let_in.append(device.name)
        if admitted != self._admitted:
            write_nodes(self._fleet.nodes, admitted)
            self._admitted = admitted
        for name in before - facts.keys():
            self._watch.on_text(f"let {name} in no more")
        self._node_facts.note(facts, let_in=let_in)
        # The guard shuts a revoked device out. To Flower its node stays, since Flower takes no key back.
        revoked = {device.key_bytes for device in self._register.revoked()} if nodes else set()
        for node in (node for key, node in nodes.items() if key not in revoked):
            control.unregister(node.node_id)
            self._watch.on_text(f"let node {node.node_id} in no more")

    def _node_of(self, control: Control, device: RegisteredDevice) -> FlowerNode | None:
        """A new node for a device; None where Flower takes its key no more, which is told once."""
        try:
            return FlowerNode(control.register(device.key_bytes, device.name))
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.PRECONDITION_FAILED:
                raise
        if device.public_key not in self._never_again:
            self._never_again.add(device.public_key)
            self._watch.on_text(
                f"{device.name} cannot be let in: an earlier release has locked its key out for good; enrol "
                "the device in a new home, and register the key from there"
            )
        return None

    def _follow_generation(self, control: Control) -> None:
        """Go on with another generation once it is in force; a round of the one before counts for nothing."""
        folder, before = self._fleet.folder, self._config.generation
        if not is_switching(folder) and read_generation(folder) == before:
            return
        self._read_config()
        if self._config.generation == before:
            return
        self._watch.on_text(f"generation {self._config.generation} is in force")
        for run in control.runs():
            if not run.is_over:
                control.stop_run(run.run_id)

    def _lead_release(self) -> None:
        """Have a release go on, or back; what is in its way is told once."""
        try:
            self._releases.step()
            trouble = ""
        except FedstillError as error:
            trouble = f"the release waits: {error}"
        if trouble and trouble != self._release_trouble:
            self._watch.on_text(trouble)
        self._release_trouble = trouble

    def _follow_kill_switch(self, control: Control) -> None:
        """End a round that was going on when the operator switched rounds off; a new run waits for them."""
        is_off = bool(switched_off(self._fleet.folder))
        if is_off and not self._was_off:
            for run in control.runs():
                if not run.is_over:
                    control.stop_run(run.run_id)
        self._was_off = is_off

    def _take_students_over(self) -> None:
        """Have the next run go on from students that came with a release; none is going on now."""
        try:
            families = take_students_over(self._fleet.folder)
        except FedstillError as error:
            self._watch.on_text(f"rounds go on from their own students: {error}")
            return
        if families:
            self._watch.on_text(f"rounds go on from the released students of {', '.join(families)}")

    def _has_work(self) -> bool:
        """Whether a run is needed: for rounds, or to ask devices about a release."""
        return self._rounds_left() > 0 or ReleaseFolder(self._fleet.folder).on_its_way() is not None

    def _supervise_run(self, control: Control) -> RunStatus | None:
        """Start the run, or a new one that goes on where a failed one ended."""
        runs = control.runs()
        run = runs[-1] if runs else None
        if run is not None and not run.is_over:
            return run
        if not self._has_work() or not self._register.all():
            return run
        self._take_students_over()
        now = time.monotonic()
        if run is not None and self._start_again_at == 0.0:
            self._watch.on_text(f"run {run.run_id} ended as {run.status}; it goes on in a new one")
            self._start_again_at = now + _PAUSE_BEFORE_NEW_RUN_S
        if now >= self._start_again_at:
            self._start_again_at = 0.0
            self._watch.on_text(f"started run {control.start_run()}")
        return None

    def _rounds_left(self) -> float:
        return math.inf if self._config.continuous else self._config.rounds - self._store.last_round()

    def _report_rounds(self) -> None:
        new = self._store.last_round() - self._reported
        for record in self._store.last_records(new)[::-1] if new > 0 else ():
            if record.round > self._reported:
                self._watch.on_round(record, None if self._config.continuous else self._config.rounds)
        self._reported += new

    def _report_waiting(self) -> None:
        status = RoundsStatus.read(self._fleet.folder)
        if status is None or status.text == self._told:
            return
        self._told = status.text
        if status.waiting_for:
            self._watch.on_text(f"round {status.round} waits: {status.text}")

    def _report_end(self) -> None:
        text = end_text(self._config, self._fleet.folder)
        if text != self._told:
            self._told = text
            self._watch.on_text(text)

    def _refresh(self) -> None:
        """Sign the packages' list anew once a day, before devices think it too old."""
        now = time.monotonic()
        if self._refreshed and now - self._refreshed < _REFRESH_EVERY_S:
            return
        self._refreshed = now
        try:
            Repository.open(self._fleet.folder).refresh()
        except FedstillError as error:
            self._watch.on_text(f"the packages could not be signed anew: {error}")


def end_text(config: FleetConfig, folder: Path) -> str:
    """What to say where all rounds are done: that they are, and what can be done about it."""
    if config.privacy is not None:
        return (
            f"all {config.rounds} rounds are done, which is all that the fleet's noise was reckoned for: a "
            "further one would cost devices more privacy than they were promised. Devices keep their "
            "students and are asked nothing more; what changes that is a generation with a larger --epsilon"
        )
    return (
        f"all {config.rounds} rounds are done, and devices are asked nothing more; prepare --rounds said so "
        f"many. A new generation goes on with the same devices: fedstill-server prepare {folder}"
    )
