"""Private examples appear in no byte that leaves a device; and the search would find them if they did."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_client import AgentClient
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import PersonalizeOptions
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.rounds.trained_stack import TrainedStack
from fedstill_client.service.endpoint import serving_lock
from fedstill_client.service.server import running
from fedstill_client.store import PrivateStore
from fedstill_proto import flower_records
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import (
    Optimizer,
    PrivateStatistics,
    RoundTask,
    RowSelection,
    SummaryKind,
    SummaryRequest,
    TrainingPlan,
)
from fedstill_proto.refusal import Refusal
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

from tests.client.agent_samples import OPEN, enrolled_home
from tests.client.bigram import TABLE, bigram_package, bigram_student
from tests.client.flower_calls import call, node_of, packed, sent_bytes
from tests.client.keyboard_samples import WORD_LIST, keyboard_home
from tests.client.recording_agent import short_home
from tests.client.samples import FAMILY, SHAPE, examples, student
from tests.system.canaries import CONSECUTIVE, ENCODINGS, canary_examples, leaks, relayed_unix

CANARIES = canary_examples(12, SHAPE)
WORDS, PLACES = 900, 12
ROWS = np.arange(8)
REQUESTS = {
    "nothing": SummaryRequest(SummaryKind.NONE),
    "parameters": SummaryRequest(SummaryKind.PARAMETERS),
    "class means": SummaryRequest(SummaryKind.CLASS_MEANS, SoftLabelCodec(Encoding.FLOAT32)),
    "public set": SummaryRequest(SummaryKind.PUBLIC_SET, SoftLabelCodec(Encoding.FLOAT32), ROWS),
    "public set, uint8": SummaryRequest(SummaryKind.PUBLIC_SET, SoftLabelCodec(Encoding.UINT8), ROWS),
    "public set, top 2": SummaryRequest(SummaryKind.PUBLIC_SET, SoftLabelCodec(Encoding.TOP_K, 2), ROWS),
    "class means, levels": SummaryRequest(
        SummaryKind.CLASS_MEANS, SoftLabelCodec(Encoding.LEVELS, bits=4, entropy=True)
    ),
    "public set, levels": SummaryRequest(
        SummaryKind.PUBLIC_SET, SoftLabelCodec(Encoding.LEVELS, bits=8), ROWS
    ),
    "public set, selected": SummaryRequest(
        SummaryKind.PUBLIC_SET,
        SoftLabelCodec(Encoding.FLOAT32),
        ROWS,
        class_counts=True,
        selection=RowSelection(least_density_ratio=0.5, most_ambiguity=0.9),
    ),
}


def round_of(number: int, request: SummaryRequest, parameters: Parameters, **changes: Any) -> RoundTask:
    optimizer = changes.pop("optimizer", Optimizer.ADAMW)
    # One example a step: what a step changes is then that example's alone.
    plan = TrainingPlan(2, 1, 0.01, optimizer, 2.0, 0.0, seed=1)
    fields = {"family": FAMILY, "parameters": parameters, "replace_student": True} | changes
    return RoundTask("r1", number, training=plan, request=request, **fields)


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    made = enrolled_home(tmp_path / "home")
    with PrivateStore.open(made) as store:
        store.observe_all((x, row % 3) for row, x in enumerate(CANARIES))
    return made


@pytest.fixture(autouse=True)
def always_eligible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedstill_client.app.Eligibility", lambda folder: lambda: None)


def all_replies(
    home: AgentHome, tasks: Mapping[str, RoundTask], kinds: Sequence[str] = ("train", "evaluate")
) -> Iterator[tuple[str, bytes]]:
    """What the device sends for a hello, and for each task when it trains and when it evaluates."""
    hello = call("query.hello", flower_records.hello("r1"), node_of(home.folder))
    assert not hello.has_error()
    yield "hello", sent_bytes(hello)
    for name, asked in tasks.items():
        for kind in kinds:
            reply = call(kind, packed(asked), node_of(home.folder))
            assert not reply.has_error(), reply.error
            yield f"{kind}: {name}", sent_bytes(reply)


def test_no_example_is_in_any_message_to_the_server(home: AgentHome) -> None:
    tasks = {name: round_of(1, request, student()) for name, request in REQUESTS.items()}
    assert leaks((home.store.parent / "store.db").read_bytes(), list(CANARIES[:1]))

    found = {name: leaks(sent, list(CANARIES)) for name, sent in all_replies(home, tasks)}

    assert len(found) == 1 + 2 * len(REQUESTS)
    assert not any(found.values()), found


def test_no_example_is_in_a_refusal(home: AgentHome) -> None:
    with PrivateStore.open(home) as store:
        store.observe(canary_examples(1, (*SHAPE, 2))[0], 0)  # as another student's would be

    reply = call("train", packed(round_of(1, REQUESTS["nothing"], student())), node_of(home.folder))

    assert (reply.error.code, reply.error.reason) == (Refusal.FAILED.code, "failed")
    assert leaks(sent_bytes(reply), list(CANARIES)) == []


def test_a_summary_that_leaks_is_found(home: AgentHome, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaky(task: RoundTask, trained: TrainedStack, device: int) -> PrivateStatistics:
        own = {name: array[device].copy() for name, array in trained.parameters.items()}
        own["hidden.bias"][10 : 10 + CANARIES[0].size] = CANARIES[3].ravel()
        return PrivateStatistics(parameters=own, examples=int(trained.private.counts[device]))

    monkeypatch.setattr("fedstill_client.rounds.summarizer._trained_student", leaky)
    asked = {"parameters": round_of(1, REQUESTS["parameters"], student())}

    found = {name: leaks(sent, list(CANARIES)) for name, sent in all_replies(home, asked)}

    assert [name for name, problems in found.items() if problems] == ["train: parameters"]
    assert found["train: parameters"][0].startswith("canary 3 as <f4")


def test_no_word_is_in_any_message_of_a_text_student(tmp_path: Path) -> None:
    canaries = np.random.default_rng(3).integers(300, WORDS, (12, PLACES + 1))
    home = AgentHome(tmp_path / "home")
    home.create()
    OPEN.write(home.folder)
    home.description.write_text(json.dumps({"name": "phone", "family": "bigram", "owner_share": 0}))
    with PrivateStore.create(home) as store:
        install(home, store, bigram_package(version=1, words=WORDS, places=PLACES, step_size=200))
        store.observe_all((words[:-1], words[1:]) for words in canaries)
    weights, options = bigram_student(0, words=WORDS), {"family": "bigram", "optimizer": Optimizer.SGD}
    names = ("nothing", "parameters")
    tasks = {name: round_of(1, REQUESTS[name], weights, **options) for name in names}

    sent = dict(all_replies(home, tasks, kinds=("train",)))

    assert len(sent["train: parameters"]) > weights[TABLE].nbytes
    found = {name: leaks(content, list(canaries)) for name, content in sent.items()}
    assert not any(found.values()), found
    assert leaks(sent["train: nothing"] + canaries[5].astype(np.int32).tobytes(), list(canaries))


def test_no_typed_word_is_in_any_byte_that_is_sent(tmp_path: Path) -> None:
    secret, typed = "quillfeather", "we meet at Quillfeather tonight, the quick quillfeather question"
    home = keyboard_home(tmp_path / "home")
    OPEN.write(home.folder)
    with Agent.open(home.folder) as agent:
        for _ in range(3):
            agent.observe_text(typed)
        assert secret in [suggestion.word.lower() for suggestion in agent.suggest("we meet at", "qu")]
    numbers = np.array(WORD_LIST.encode(typed))
    weights, options = (
        bigram_student(0, words=len(WORD_LIST)),
        {"family": "bigram", "optimizer": Optimizer.SGD},
    )
    names = ("nothing", "parameters")
    tasks = {name: round_of(1, REQUESTS[name], weights, **options) for name in names}

    sent = dict(all_replies(home, tasks))

    assert len(sent["train: parameters"]) > weights[TABLE].nbytes
    with FleetDevice.opened(home.folder) as device:  # it did learn from what was typed
        assert int(device.private.counts[0]) > 0
    canaries = [secret, secret.title(), numbers, typed]
    found = {name: leaks(content, canaries) for name, content in sent.items()}
    assert not any(found.values()), found
    assert len(leaks(sent["hello"] + typed.encode() + numbers.tobytes(), canaries)) == 4


def test_the_agent_s_service_takes_examples_and_gives_none_back() -> None:
    with short_home() as made:
        home, tap_at = enrolled_home(made.folder), made.folder / "tap.sock"
        x, labels = examples(40, seed=5)
        with (
            serving_lock(home) as address,
            Agent.open(home.folder) as agent,
            running(agent, address, home.socket, threading.Event()),
            relayed_unix(tap_at, home.socket) as tap,
            AgentClient(tap_at) as client,
        ):
            ids = client.observe(CANARIES, np.arange(len(CANARIES)) % 3)
            client.observe(x, labels)
            client.personalize(PersonalizeOptions(epochs=2))
            client.predict(x)
            client.status()
            with pytest.raises(Exception, match="labels"):
                client.observe(CANARIES[:1], np.array([99]))
            client.forget(ids=ids[:2])

    assert len(leaks(tap.to, list(CANARIES))) == len(CANARIES)
    assert len(tap.back) > 1000
    assert leaks(tap.back, list(CANARIES)) == []


@pytest.mark.parametrize("encoding", list(ENCODINGS))
def test_every_encoding_is_found(encoding: str) -> None:
    words = np.random.default_rng(0).integers(100, 60_000, 20)
    for values in (canary_examples(1, (20,))[0], words):
        written = ENCODINGS[encoding](values[7 : 7 + CONSECUTIVE])
        if written is None:
            continue  # not a way to write these
        for sent in (written, written.hex().encode(), base64.b64encode(b"abcd" + written + b"e")):
            assert leaks(b"before" + sent + b"after", [values])
        assert leaks(written[:-1], [values]) == []


@pytest.mark.parametrize("text", ["{}", "say '{}'"])
def test_decimals_and_words_are_found(text: str) -> None:
    values = canary_examples(1, (20,))[0]
    for written in (
        json.dumps(values.tolist()),
        ",".join(map(str, values)),
        " ".join(f"{v:.6g}" for v in values),
    ):
        assert leaks(text.format(written).encode(), [values])
    assert leaks(text.format("platypus").encode("utf-16-le"), ["platypus"])
    assert leaks(base64.b64encode(text.format("platypus").encode()), ["platypus"])
    assert leaks(text.format("plat").encode(), ["platypus"]) == []
