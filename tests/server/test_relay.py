"""Relays in process: the consensus is that of the same devices without a relay, and a relay may die."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fedstill_proto.errors import WireError
from fedstill_proto.flower_records import hello_reply, pack
from fedstill_proto.system.enrolment import Enrolment, read_enrolment
from fedstill_server.cli import cli
from fedstill_server.config.fleet import CohortRule
from fedstill_server.fleet.certificates import authority_file
from fedstill_server.fleet.devices import DeviceRegister
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.fleet.proxy import configuration
from fedstill_server.relay import letters
from fedstill_server.relay.folder import RelayFolder
from fedstill_server.relay.letters import Letter, RelayMember, Send, TakeReply
from fedstill_server.relay.relayed_grid import RelayedGrid
from fedstill_server.relay.serving import FromAbove, Relay
from fedstill_server.rounds import roster
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.roster import NodeRegister, RegisteredNode
from fedstill_server.rounds.run_store import RunStore
from fedstill_sim.engine.grid import FIRST_DEVICE_NODE_ID, InProcessGrid
from flwr.app import Error, Message, RecordDict
from typer.testing import CliRunner

from tests.server.scripted_fleet import ScriptedGrid, fleet_config, honest_summary, public_examples


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "_LOOK_FOR_NODES_S", 0.02)


class Link:
    """A relay's connection to the server above: two queues."""

    def __init__(self) -> None:
        self.down: deque[Message] = deque()
        self.up: dict[str, Message] = {}

    def receive(self) -> FromAbove | None:
        if not self.down:
            return None
        message = self.down.popleft()
        return FromAbove(message, message.content)

    def reply(self, reply: Message) -> None:
        self.up[str(reply.metadata.reply_to_message_id)] = reply


class Wire(InProcessGrid):
    """A Grid whose nodes are relays, and devices of its own; whoever looks for replies has relays work."""

    def __init__(self, links: dict[int, Link], own: ScriptedGrid | None = None) -> None:
        super().__init__(devices=0, handlers={})
        self.links, self.own = links, own
        self.relays: dict[int, Relay] = {}
        self.dead: dict[int, Relay] = {}
        self.sent = 0

    def get_node_ids(self) -> list[int]:
        return [*self.relays, *(self.own.get_node_ids() if self.own else ())]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        names = []
        for message in messages:
            if (link := self.links.get(message.metadata.dst_node_id)) is None:
                assert self.own is not None
                names += self.own.push_messages([message])
                continue
            self.sent += 1
            message.metadata.__dict__["_message_id"] = f"wire-{id(self)}-{self.sent}"
            link.down.append(message)
            names.append(message.metadata.message_id)
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        wanted = list(message_ids)
        for relay in list(self.relays.values()):
            while relay.step():
                pass
        for node in self.dead:
            self.links[node].up.clear()
        replies = [link.up.pop(name) for link in self.links.values() for name in wanted if name in link.up]
        return replies + (self.own.pull_messages(wanted) if self.own else [])


def nodes(*names: str) -> NodeRegister:
    return lambda: {
        FIRST_DEVICE_NODE_ID + place: RegisteredNode(name, "") for place, name in enumerate(names)
    }


def scripted(first: int, devices: int = 2, **settings: Any) -> ScriptedGrid:
    """Devices that answer as the devices `first`, `first` + 1... of a flat fleet do."""
    scripts = {
        place: (lambda task, place=place: pack("SoftLabelSummary", honest_summary(task, first + place)))
        for place in range(devices)
    }
    return ScriptedGrid(devices=devices, scripts=scripts, **settings)


def tree(*, own: ScriptedGrid | None = None, most: int = 9) -> tuple[Wire, NodeRegister, dict[str, Any]]:
    """A server with the relays west (node 101) and east (node 102) of two devices each."""
    links = {101: Link(), 102: Link()}
    wire, below = Wire(links, own), {"west": scripted(0), "east": scripted(2)}
    for node, grid in zip(links, below.values(), strict=True):
        wire.relays[node] = Relay(links[node], grid, nodes("device-0", "device-1"))
    registered = {101: RegisteredNode("west", "", most), 102: RegisteredNode("east", "", most)}
    if own is not None:
        registered |= nodes("device-0")()
    return wire, (lambda: registered), below


def run(grid: Any, folder: Path, registered: NodeRegister | None = None, **changes: Any) -> list[Any]:
    """The records of a run of three rounds."""
    cohort = CohortRule(deadline_s=changes.pop("deadline_s", 5.0), goal_count=changes.pop("devices", 4))
    config = fleet_config("fedstill", cohort=cohort, **changes)
    store = RunStore(folder)
    FleetRun(grid, config, public=public_examples(), store=store, registered=registered).run()
    return store.records()


def flat(folder: Path, names: Sequence[str], **changes: Any) -> list[Any]:
    grid = scripted(0, len(names), greet=lambda device, content: hello_reply(names[device], "mlp-small"))
    return run(grid, folder, devices=len(names), **changes)


FOUR = ("west/device-0", "west/device-1", "east/device-0", "east/device-1")


@pytest.mark.parametrize("changes", [{}, {"mode": "async"}])
def test_a_tree_comes_to_the_consensus_of_the_same_devices_without_relays(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    wire, registered, _ = tree()
    grid = RelayedGrid(wire, registered)
    records = run(grid, tmp_path / "tree", grid.registered, **changes)
    expected = flat(tmp_path / "flat", FOUR, **changes)
    assert [record.consensus_digest for record in records] == [one.consensus_digest for one in expected]
    assert sorted(records[-1].counted) == sorted(FOUR)
    assert [record.uplink_bytes for record in records] == [one.uplink_bytes for one in expected]


def test_a_relay_behind_a_relay_and_devices_beside_it(tmp_path: Path) -> None:
    wire, registered, _ = tree()
    middle = RelayedGrid(wire, registered)
    link = Link()
    top = Wire({201: link}, scripted(4, 1))
    top.relays[201] = Relay(link, middle, middle.registered)
    known = {201: RegisteredNode("hall", "", 4)} | nodes("device-0")()
    grid = RelayedGrid(top, lambda: known)
    records = run(grid, tmp_path / "tree", grid.registered, devices=5)
    names = (*(f"hall/{name}" for name in FOUR), "device-0")
    expected = flat(tmp_path / "flat", names)
    assert [record.consensus_digest for record in records] == [one.consensus_digest for one in expected]
    assert sorted(records[-1].counted) == sorted(names)


def test_a_relay_dies_in_a_round_and_comes_back(tmp_path: Path) -> None:
    wire, registered, below = tree()

    def dies(task: Any) -> Any:
        if task.round == 2 and not wire.dead:
            wire.dead[101] = wire.relays.pop(101)
        return pack("SoftLabelSummary", honest_summary(task, 0))

    def revives(task: Any) -> Any:
        if task.round == 3 and wire.dead:
            del wire.dead[101]
            wire.relays[101] = Relay(wire.links[101], below["west"], nodes("device-0", "device-1"))
        return pack("SoftLabelSummary", honest_summary(task, 2))

    below["west"].scripts[0], below["east"].scripts[0] = dies, revives
    grid = RelayedGrid(wire, registered)
    records = run(grid, tmp_path, grid.registered, rounds=5, deadline_s=0.5)
    assert [record.accepted for record in records] == [4, 2, 2, 4, 4]
    assert {(one.device, one.reason) for one in records[1].quarantined} == {
        ("west/device-0", "no-answer"),
        ("west/device-1", "no-answer"),
    }


def test_a_relay_brings_no_more_devices_than_it_may_and_only_its_own(tmp_path: Path) -> None:
    wire, registered, below = tree(own=scripted(4, 1), most=1)
    below["east"].greet = lambda device, content: hello_reply("../west/device-0", "mlp-small")
    grid = RelayedGrid(wire, registered)
    records = run(grid, tmp_path, grid.registered, devices=2)
    assert set(records[-1].counted) == {"west/device-0", "device-0"}


def test_a_relay_answers_for_no_other_devices() -> None:
    wire, registered, _ = tree()
    grid = RelayedGrid(wire, registered)
    while len(grid.get_node_ids()) < 4:
        pass
    first = {name: node for node, name in ((n, r.name) for n, r in grid.registered().items())}
    (name,) = grid.push_messages([Message(RecordDict(), first["west/device-0"], "query.hello")])
    forged = Letter(str(name), hello_reply("device-0", "mlp-small"))
    east = grid._relays[102]  # it replies, to its own question, with the name of west's letter
    grid._learn(east, letters.Take(east.session, 1), TakeReply(east.session, east.batch, (forged,)))
    assert name in grid._open


def test_letters_travel_with_each_content_once_and_are_read_again() -> None:
    shared = pack("RoundTask", bytes(1000))
    error = Error(103, "no-student")
    sent = Send(
        (
            Letter("a", shared, 7, "train", "3"),
            Letter("b", RecordDict(dict(shared)), 9, "train", "3"),
            Letter("c", error, 9),
        ),
        reply_limit_bytes=5,
    )
    content = letters.packed(sent)
    blob = content.array_records["fedstill"]["Letters"].data
    assert len(blob) < 1500
    got = letters.read_any(content)
    assert isinstance(got, Send)
    assert got.reply_limit_bytes == 5
    assert [(one.name, one.node, one.kind, one.group) for one in got.letters[:2]] == [
        ("a", 7, "train", "3"),
        ("b", 9, "train", "3"),
    ]
    assert got.letters[1].content.array_records["fedstill"]["RoundTask"].data == bytes(1000)
    assert got.letters[2].content.code == 103
    members = letters.MembersReply("s", "d", (RelayMember(1, "x", "2026"),))
    assert letters.read_any(letters.packed(members)) == members


@pytest.mark.parametrize("blob", [b"", b"\x00", b"\x04\0\0\0\0\0\0\0{}{}", b"\x02\0\0\0\0\0\0\0{}"])
def test_letters_that_are_none_are_refused(blob: bytes) -> None:
    with pytest.raises(WireError):
        letters.read_any(pack("Letters", blob))


def test_letters_come_in_batches_that_fit() -> None:
    task = pack("RoundTask", bytes(letters.BATCH_BYTES - 10))
    same = [Letter(str(place), RecordDict(dict(task))) for place in range(3)]
    other = Letter("other", pack("RoundTask", bytes(100)))
    assert [len(batch) for batch in letters.batches([*same, other])] == [3, 1]


ABOVE = Enrolment(
    run="0123abcd",
    address="fleet.example.org:8443",
    repository="https://fleet.example.org:8443/repository",
    families=("mlp-small",),
    certificate_authority="-----BEGIN CERTIFICATE-----\n",
    package_root="{}",
)


class TestCommands:
    def invoke(self, *words: object) -> str:
        done = CliRunner().invoke(cli, list(map(str, words)))
        return done.stdout if done.exit_code == 0 else str(done.exception)

    def made(self, folder: Path, *words: str) -> str:
        (folder / "above").write_text(ABOVE.to_json())
        where = ("--name", "west", "--host", "west.example.org", "--port", "9443", *words)
        return self.invoke("init-relay", folder / "west", folder / "above", *where)

    def test_a_relay_invites_with_its_own_address_and_the_fleet_s_packages(self, tmp_path: Path) -> None:
        assert "made relay west of fleet 0123abcd" in self.made(tmp_path)
        self.invoke("invite", tmp_path / "west", "--out", tmp_path / "west.enrolment")
        enrolment = read_enrolment(tmp_path / "west.enrolment")
        assert enrolment.address == "west.example.org:9443"
        assert enrolment.repository == "https://west.example.org:9443/repository"
        assert (enrolment.run, enrolment.package_root) == ("0123abcd", "{}")
        assert enrolment.certificate_authority == authority_file(FleetFolder(tmp_path / "west")).read_text()
        relay = RelayFolder.open(tmp_path / "west")
        told = configuration(relay.fleet, relay.repository_location())
        assert "proxy_pass https://fleet.example.org:8443/repository/;" in told
        assert " relay " in self.invoke("unit", tmp_path / "west")
        assert "run: fedstill-server relay" in self.invoke("up", tmp_path / "west")

    def test_its_key_is_registered_with_an_allowance_that_can_be_changed(self, tmp_path: Path) -> None:
        self.made(tmp_path)
        FleetFolder.create(tmp_path / "fleet", FleetSettings(host="a", port=1, superlink_port=2))
        key = tmp_path / "west" / "keys" / "relay.pub"
        for allowance in (5, 7):
            self.invoke("register", tmp_path / "fleet", key, "--relay-devices", allowance)
            (west,) = DeviceRegister(tmp_path / "fleet" / "devices").all()
            assert (west.name, west.relay_devices) == ("west", allowance)

    def test_bad_input_is_one_clear_line(self, tmp_path: Path) -> None:
        assert "hands packages on" in self.made(tmp_path, "--without-proxy", "--host", "127.0.0.1")
        assert "holds no slash" in self.made(tmp_path, "--name", "a/b")
        assert "a fleet, and no relay" in self.invoke("relay", self.a_fleet(tmp_path))

    def a_fleet(self, folder: Path) -> Path:
        return FleetFolder.create(folder / "f", FleetSettings(host="a", port=1, superlink_port=2)).folder
