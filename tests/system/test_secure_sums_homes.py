"""Agents' homes in a sum: the real ClientApp, private stores, keys and a signed list of devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from fedstill_client.fleet.membership import Membership
from fedstill_client.home import AgentHome
from fedstill_client.packages import PackageSource
from fedstill_client.secure_sums.state import SumState
from fedstill_client.store import PrivateStore
from fedstill_client.store.ledger import Ledger
from fedstill_proto.codec.api import Expected, decode_summary
from fedstill_proto.flower_records import pack, unpack
from fedstill_proto.messages import Optimizer, RoundTask, SummaryKind, SummaryRequest, TrainingPlan
from fedstill_proto.privacy import Noising
from fedstill_proto.secure_sums.enrolled import EnrolledDevice, EnrolledDevices
from fedstill_proto.secure_sums.terms import Summing, SumNoise, SumTerms
from fedstill_server.publish.errors import PublishError
from fedstill_server.publish.repository import Repository
from fedstill_server.rounds.gate import Answer
from fedstill_server.rounds.roster import Member
from fedstill_server.rounds.summing import RoundSums
from fedstill_server.secure_sums.group_sum import GroupSum
from fedstill_server.secure_sums.rule import SecureSumsRule
from fedstill_sim.engine.grid import FIRST_DEVICE_NODE_ID, Handler, InProcessGrid
from flwr.app import Error, Message, RecordDict

from tests.client.agent_samples import OPEN, enrolled_home
from tests.client.flower_calls import call, node_of, packed
from tests.client.samples import FAMILY, examples, student

SUMMING = Summing(noise=SumNoise.NONE, dropouts=0.3)
NOISING = Noising(10.0, 1.0)


@pytest.fixture(autouse=True)
def always_eligible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedstill_client.app.Eligibility", lambda folder: lambda: None)


def task(round: int = 1, *, noise: SumNoise = SumNoise.NONE) -> RoundTask:
    summing = Summing(noise=noise, dropouts=SUMMING.dropouts)
    return RoundTask(
        run="r1",
        round=round,
        family=FAMILY,
        training=TrainingPlan(
            epochs=1,
            batch_size=8,
            learning_rate=0.01,
            optimizer=Optimizer.ADAMW,
            temperature=2.0,
            soft_weight=0.0,
            seed=1,
        ),
        request=SummaryRequest(
            SummaryKind.PUBLIC_SET, None, np.arange(5), relative=True, noising=NOISING, summing=summing
        ),
        parameters=student(),
    )


@dataclass
class HomeFleet:
    homes: list[AgentHome]
    enrolled: EnrolledDevices
    repository: Repository

    def replies(self, place: int, message_type: str, content: object) -> Message:
        return call(message_type, content, node_of(self.homes[place].folder))  # type: ignore[arg-type]

    def train(self, place: int, asked: RoundTask) -> bytes:
        reply = self.replies(place, "train", packed(asked))
        assert reply.has_content(), reply.error
        return unpack(reply.content, "SoftLabelSummary", size_limit_bytes=1 << 20)

    def step(self, place: int, step: str, question: bytes) -> bytes:
        reply = self.replies(place, f"query.sum_{step}", pack("SumQuestion", question))
        assert reply.has_content(), reply.error
        return unpack(reply.content, "SumAnswer", size_limit_bytes=1 << 20)

    def state(self, place: int) -> SumState:
        with PrivateStore.open(self.homes[place]) as store:
            blob = store.sums.state()
        assert blob is not None
        return SumState.from_bytes(blob)


def home_with_key(folder: Path, name: str, repository: Path, root: bytes) -> tuple[AgentHome, EnrolledDevice]:
    home = enrolled_home(folder, policy=type(OPEN)(**{**vars(OPEN), "least_group_size": 3}))
    x, labels = examples(20, seed=len(name))
    with PrivateStore.open(home) as store:
        store.observe_all(zip(x, labels, strict=True))
    key = ec.generate_private_key(ec.SECP384R1())
    for made in (home.keys, home.trust):
        made.mkdir(mode=0o700, exist_ok=True)
    home.device_key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    PackageSource.trust_root(home.trust, root)
    Membership(run="r1", address="127.0.0.1:1", repository=str(repository)).write(home)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return home, EnrolledDevice(name, public)


@pytest.fixture
def fleet(tmp_path: Path) -> HomeFleet:
    repository = Repository.create(tmp_path / "fleet")
    root = repository.trusted_root()
    made = [
        home_with_key(tmp_path / f"home-{place}", f"device-{place}", repository.folder, root)
        for place in range(4)
    ]
    enrolled = EnrolledDevices.of([device for _, device in made], version=1)
    repository.enrol(enrolled)
    return HomeFleet([home for home, _ in made], enrolled, repository)


class NotingGrid(InProcessGrid):
    """A Grid that takes no more of a reply than the server says, and notes how much that is."""

    limit = 0

    def limit_replies(self, size_limit_bytes: int) -> None:
        self.limit = size_limit_bytes


def offered(fleet: HomeFleet, asked: RoundTask) -> GroupSum:
    """The server, after all devices have trained."""
    expected = Expected.of(asked, classes=3)
    keys = {}
    for place in range(len(fleet.homes)):
        summary = decode_summary(fleet.train(place, asked), expected=expected)
        assert summary.sum_keys is not None
        keys[place] = summary.sum_keys
    summing = asked.request.summing
    assert summing is not None
    terms = SumTerms(run="r1", round=asked.round, summing=summing, noising=NOISING, numbers=15)
    return GroupSum(terms, fleet.enrolled, keys)


def steps(server: GroupSum) -> list[tuple[str, Callable[[], dict[int, bytes]], Callable[[int, bytes], None]]]:
    return [
        ("deal", server.rosters, server.take_dealt),
        ("mask", server.deliveries, server.take_masked),
        ("agree", server.survivors, server.take_agreement),
        ("reveal", server.agreements, server.take_revealed),
    ]


def test_homes_answer_the_sum_of_their_vectors_and_keep_no_secret_of_it(fleet: HomeFleet) -> None:
    asked = task()
    server = offered(fleet, asked)
    vectors = [fleet.state(place).vector for place in range(4)]
    again = fleet.train(0, asked)
    assert again == fleet.train(0, asked)  # whoever asks again gets the same keys
    for step, asks, take in steps(server):
        for place, question in asks().items():
            answer = fleet.step(place, step, question)
            if step != "reveal":
                assert fleet.step(place, step, question) == answer
            take(place, answer)
    np.testing.assert_array_equal(server.opened().steps, np.sum(vectors, axis=0))
    assert np.abs(np.sum(vectors, axis=0)).max() > 0
    state = fleet.state(0)
    assert (state.vector, state.self_seed, state.mask_private, state.share_private) == (None, b"", b"", b"")
    with PrivateStore.open(fleet.homes[0]) as store:
        (release,) = store.ledger.releases()
    assert (release.kind, release.values, release.mechanism) == ("sum", 15, "none")


def test_the_server_s_rounds_sum_what_the_homes_answer(fleet: HomeFleet) -> None:
    """All but the network: RoundSums on one side, each home's ClientApp on the other; one is switched off."""
    asked = task(noise=SumNoise.NONE)
    expected = Expected.of(asked, classes=3)
    answers = [
        Answer(f"device-{place}", decode_summary(fleet.train(place, asked), expected=expected), asked.round)
        for place in range(4)
    ]
    vectors = [fleet.state(place).vector for place in range(4)]

    def handler(message_type: str) -> Handler:
        def answer(devices: Sequence[int], contents: Sequence[RecordDict]) -> list[RecordDict | Error]:
            replies = []
            for device, content in zip(devices, contents, strict=True):
                off = device == 3 and message_type == "query.sum_mask"
                reply = None if off else fleet.replies(device, message_type, content)
                replies.append(
                    Error(1, "off")
                    if reply is None
                    else reply.content
                    if reply.has_content()
                    else reply.error
                )
            return replies

        return answer

    kinds = [f"query.sum_{step}" for step in ("deal", "mask", "agree", "reveal")]
    grid = NotingGrid(devices=4, handlers={kind: handler(kind) for kind in kinds})
    members = {
        f"device-{place}": Member(f"device-{place}", FAMILY, FIRST_DEVICE_NODE_ID + place)
        for place in range(4)
    }
    sums = RoundSums(grid, SecureSumsRule(dropouts=0.3), lambda: fleet.enrolled, seed=0)
    summed = sums.sums(answers, members, parts={"": (sorted(members), 15)}, noising=NOISING, summing=SUMMING)
    (group,) = summed.groups
    assert group.devices == ("device-0", "device-1", "device-2")
    np.testing.assert_array_equal(group.steps, np.sum(vectors[:3], axis=0))
    assert [entry.device for entry in summed.quarantined] == ["device-3"]
    assert grid.limit == 1024 + 3 * 88  # three neighbours; 15 numbers are less


def test_what_is_masked_is_in_the_ledger_first_and_the_same_after_a_crash(
    fleet: HomeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = offered(fleet, task(noise=SumNoise.SHARED))
    for place, question in server.rosters().items():
        server.take_dealt(place, fleet.step(place, "deal", question))
    question = server.deliveries()[0]

    def power_fails(*_: object, **__: object) -> bytes:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "debit_noised", power_fails)
        assert fleet.replies(0, "query.sum_mask", pack("SumQuestion", question)).has_error()
    kept = fleet.state(0).mask.answer
    assert kept
    assert fleet.step(0, "mask", question) == kept == fleet.step(0, "mask", question)
    with PrivateStore.open(fleet.homes[0]) as store:
        (release,) = store.ledger.releases()
    assert release.mechanism == "shared-discrete-gaussian"
    assert release.rho == pytest.approx(NOISING.rho)


def test_a_device_whose_budget_is_spent_masks_nothing(fleet: HomeFleet) -> None:
    server = offered(fleet, task(noise=SumNoise.SHARED))
    for place, question in server.rosters().items():
        server.take_dealt(place, fleet.step(place, "deal", question))
    type(OPEN)(**{**vars(OPEN), "least_group_size": 3, "epsilon": 0.1}).write(fleet.homes[0].folder)
    reply = fleet.replies(0, "query.sum_mask", pack("SumQuestion", server.deliveries()[0]))
    assert reply.error.reason == "budget"


def test_what_was_forgotten_is_not_summed(fleet: HomeFleet) -> None:
    server = offered(fleet, task())
    for place, question in server.rosters().items():
        server.take_dealt(place, fleet.step(place, "deal", question))
    with PrivateStore.open(fleet.homes[0]) as store:
        store.forget(everything=True)
    reply = fleet.replies(0, "query.sum_mask", pack("SumQuestion", server.deliveries()[0]))
    assert reply.error.reason == "policy"


def test_a_device_that_the_server_made_up_is_refused_since_the_signed_list_lacks_it(fleet: HomeFleet) -> None:
    """The server replaces a device of its own list; the device goes by the one that was signed."""
    stranger = ec.generate_private_key(ec.SECP384R1()).public_key()
    text = stranger.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    made_up = EnrolledDevice("device-3", text)
    server = offered(fleet, task())
    server.enrolled = EnrolledDevices.of([*fleet.enrolled.devices[:3], made_up], version=1)
    reply = fleet.replies(0, "query.sum_deal", pack("SumQuestion", server.rosters()[0]))
    assert reply.error.reason == "policy"


def test_an_older_list_of_devices_cannot_be_published_again(fleet: HomeFleet) -> None:
    fewer = EnrolledDevices.of(fleet.enrolled.devices[:3], version=1)
    with pytest.raises(PublishError, match="not above 1"):
        fleet.repository.enrol(fewer)
