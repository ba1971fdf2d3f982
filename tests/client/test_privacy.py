"""What a device lets out: noised answers, within its own budget, the same bytes for the same round."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.cli import app
from fedstill_client.home import AgentHome
from fedstill_client.privacy.guard import PolicyRefused
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.store import PrivateStore
from fedstill_client.store.ledger import Ledger, Release
from fedstill_proto.codec.api import Expected, decode_summary, decode_task, encode_task
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import (
    Optimizer,
    PrivateStatistics,
    RoundTask,
    SummaryKind,
    SummaryRequest,
    TrainingPlan,
)
from fedstill_proto.privacy import Noising, epsilon_of_rho
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from typer.testing import CliRunner

from tests.client.agent_samples import OPEN, enrolled_home
from tests.client.samples import FAMILY, artifact, examples, student

CLASSES = 3
ROUND_RHO = 1 / 8  # of a noise multiplier of 2


def noised(kind: SummaryKind = SummaryKind.PUBLIC_SET, *, multiplier: float = 2.0) -> SummaryRequest:
    public = kind is SummaryKind.PUBLIC_SET
    return SummaryRequest(
        kind,
        public_rows=np.arange(5 if public else 0),
        relative=public,
        noising=Noising(1.0, multiplier),
    )


def task(round: int = 1, *, request: SummaryRequest | None = None, **training: Any) -> RoundTask:
    plan = {"epochs": 1, "batch_size": 8, "learning_rate": 0.01, "optimizer": Optimizer.ADAMW}
    plan |= {"temperature": 2.0, "soft_weight": 0.0, "seed": 1, **training}
    return RoundTask(
        run="r1",
        round=round,
        family=FAMILY,
        training=TrainingPlan(**plan),  # type: ignore[arg-type]
        request=request or noised(),
        parameters=student(),
    )


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    home = enrolled_home(tmp_path / "home")
    x, labels = examples(30, seed=1)
    with PrivateStore.open(home) as store:
        store.observe_all(list(zip(x, labels, strict=True)))
    return home


def budget(home: AgentHome, *, rounds: float, **more: float) -> None:
    """Enough for so many rounds of ROUND_RHO."""
    epsilon = epsilon_of_rho(rounds * ROUND_RHO, 1e-5)
    replace(OPEN, protection=DevicePolicy().protection, epsilon=epsilon, **more).write(home.folder)


def perform(home: AgentHome, task: RoundTask) -> bytes:
    with FleetDevice.opened(home.folder) as device:
        return device.perform(decode_task(encode_task(task, codec=SoftLabelCodec(Encoding.UINT8))))


def answer(summary: bytes, task: RoundTask) -> PrivateStatistics:
    """As the server's gate lets it through."""
    expected = Expected.of(task, CLASSES, artifact().manifest.parameters)
    return decode_summary(summary, expected=expected).statistics


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        (SummaryKind.PUBLIC_SET, 5 * CLASSES),
        (SummaryKind.CLASS_MEANS, CLASSES * (CLASSES + 1)),
        (SummaryKind.PARAMETERS, sum(array.size for array in student().values())),
    ],
)
def test_an_answer_is_noise_and_the_clipped_vector(home: AgentHome, kind: SummaryKind, numbers: int) -> None:
    """With the least noise there is, 0.1 of the clip: what is beyond six deviations of it is the device's."""
    asked = task(request=noised(kind, multiplier=0.05))
    said = answer(perform(home, asked), asked)

    assert said.noised is not None
    assert said.noised.shape == (numbers,)
    assert said.soft_labels is None
    noising = asked.request.noising
    assert noising is not None
    length = np.linalg.norm(noising.values(said.noised))
    assert length <= noising.clip + 1.5 * noising.sigma * np.sqrt(numbers)


def test_a_class_s_presence_shows_where_noise_is_small(home: AgentHome) -> None:
    asked = task(request=SummaryRequest(SummaryKind.CLASS_MEANS, noising=Noising(10.0, 0.05)))
    said = answer(perform(home, asked), asked)
    assert said.noised is not None
    assert asked.request.noising is not None
    rows = asked.request.noising.values(said.noised).reshape(CLASSES, CLASSES + 1)
    # A 1 for each class that it has, all three, and noise of a deviation of 1.
    assert abs(rows[:, -1].mean() - 1) < 4 / np.sqrt(3)


def test_the_same_round_again_has_the_same_bytes_and_costs_nothing(home: AgentHome) -> None:
    first = perform(home, task())
    assert perform(home, task()) == first
    assert perform(home, task(request=noised(multiplier=3.0))) == first  # whatever it is asked then
    assert perform(home, task(2)) != first
    with PrivateStore.open(home) as store:
        assert [(one.round, one.mechanism, one.rho) for one in store.ledger.releases()] == [
            (1, "discrete-gaussian", ROUND_RHO),
            (2, "discrete-gaussian", ROUND_RHO),
        ]


def test_a_budget_ends(home: AgentHome) -> None:
    budget(home, rounds=2)
    for round in (1, 2):
        perform(home, task(round))
    with pytest.raises(PolicyRefused, match=r"budget is spent: 3\.19 of 3\.1"):
        perform(home, task(3))
    assert perform(home, task(2))  # was paid for
    with Agent.open(home.folder) as agent:
        status = agent.status()
    assert status.epsilon_spent == pytest.approx(status.epsilon_budget, rel=1e-6)
    assert status.releases_without_noise == 0
    assert "budget is spent" in status.privacy_refusal


def test_the_device_believes_no_server(home: AgentHome) -> None:
    budget(home, rounds=10, least_noise_multiplier=1.0)
    plain = SummaryRequest(SummaryKind.PUBLIC_SET, SoftLabelCodec(Encoding.UINT8), np.arange(5))
    for asked, said in (
        (task(request=plain), "protection: plain is asked for"),
        (task(request=SummaryRequest(SummaryKind.PARAMETERS)), "protection: plain"),
        (task(request=SummaryRequest(SummaryKind.NONE)), "protection: plain"),
        (task(request=noised(multiplier=0.99)), "least_noise_multiplier: 0.99 is asked for, the bound is 1"),
    ):
        with pytest.raises(PolicyRefused, match=said):
            perform(home, asked)
    with FleetDevice.opened(home.folder) as device, pytest.raises(PolicyRefused, match="right answers"):
        device.evaluate(task())
    with PrivateStore.open(home) as store:
        assert store.ledger.releases() == []


def test_a_device_that_may_do_all_writes_down_what_it_does(home: AgentHome) -> None:
    perform(home, task())
    with Agent.open(home.folder) as agent:
        status = agent.status()
    assert status.epsilon_spent == pytest.approx(epsilon_of_rho(ROUND_RHO, 1e-5))
    assert status.epsilon_budget == 1000


def test_what_goes_wrong_with_the_data_looks_like_noise(home: AgentHome) -> None:
    """Training that diverges, and plans that only a device with few examples could make."""
    for number, asked in enumerate((task(learning_rate=1e6), task(2, epochs=900_000)), start=1):
        said = answer(perform(home, asked), asked)
        assert said.noised is not None, number


def test_a_device_without_examples_answers_like_any_other(tmp_path: Path) -> None:
    empty = enrolled_home(tmp_path / "empty")
    for kind in (SummaryKind.CLASS_MEANS, SummaryKind.PUBLIC_SET, SummaryKind.PARAMETERS):
        asked = task(list(SummaryKind).index(kind) + 1, request=noised(kind))
        said = answer(perform(empty, asked), asked)
        assert said.noised is not None


def test_what_was_paid_for_is_not_sent_once_its_examples_are_forgotten(home: AgentHome) -> None:
    perform(home, task())
    with PrivateStore.open(home) as store:
        store.forget(everything=True)
    with pytest.raises(PolicyRefused, match="answer is gone"):
        perform(home, task())


def _dies_before_it_sends(folder: Path) -> None:
    """Debits, and loses power."""
    debit = Ledger.debit_noised

    def die(self: Ledger, release: Release, summary: bytes, *, budget: float | None) -> bytes:
        debit(self, release, summary, budget=budget)
        os.kill(os.getpid(), signal.SIGKILL)
        return summary

    Ledger.debit_noised = die  # type: ignore[method-assign]
    perform(AgentHome(folder), task())


def test_a_device_that_dies_between_debit_and_send_has_paid_and_sends_that(home: AgentHome) -> None:
    process = multiprocessing.get_context("fork").Process(target=_dies_before_it_sends, args=(home.folder,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL

    with PrivateStore.open(home) as store:
        (paid,) = store.ledger.releases()
        kept = store.ledger.noised_answer("r1", 1)
    assert perform(home, task()) == kept
    with PrivateStore.open(home) as store:
        assert store.ledger.releases() == [paid]


def test_two_processes_cannot_spend_the_same_budget_twice(home: AgentHome) -> None:
    with PrivateStore.open(home) as one, PrivateStore.open(home) as other:
        for store, round in ((one, 1), (other, 2)):
            release = Release("r1", round, "public-set", 1, 1, "0" * 64, "discrete-gaussian", 0.6)
            if round == 1:
                assert store.ledger.debit_noised(release, b"a", budget=1.0) == b"a"
            else:
                with pytest.raises(FedstillError, match="does not cover"):
                    store.ledger.debit_noised(release, b"b", budget=1.0)


def test_only_the_last_answers_are_kept(home: AgentHome) -> None:
    with PrivateStore.open(home) as store:
        for round in range(1, 7):
            release = Release("r1", round, "public-set", 1, 1, "0" * 64, "discrete-gaussian", 0.1)
            store.ledger.debit_noised(release, b"%d" % round, budget=None)
        assert [store.ledger.noised_answer("r1", round) for round in (1, 2, 3, 6, 7)] == [
            b"",
            b"",
            b"3",
            b"6",
            None,
        ]


def test_the_command_sets_shows_and_takes_away(home: AgentHome) -> None:
    def privacy(*words: str) -> Any:
        done = CliRunner().invoke(app, ["privacy", "--home", str(home.folder), "--json", *words])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    assert privacy()["epsilon_budget"] == 1000
    assert privacy("--epsilon", "4", "--least-noise", "0.5")["epsilon_budget"] == 4
    assert DevicePolicy.read(home.folder) == replace(
        OPEN, protection=DevicePolicy().protection, epsilon=4.0, least_noise_multiplier=0.5
    )
    perform(home, task())
    assert privacy()["epsilon_spent"] == pytest.approx(epsilon_of_rho(ROUND_RHO, 1e-5))
    assert privacy("--off")["epsilon_budget"] == DevicePolicy().epsilon
    assert "plain" in DevicePolicy.read(home.folder).protection
