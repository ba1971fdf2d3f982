"""The policy of a device's owner: what a hostile server asks is refused before any work, and said so."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_client.cli import app
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.privacy.guard import PolicyRefused
from fedstill_client.privacy.policy import DevicePolicy, adopt
from fedstill_client.privacy.refusals import last_refusals
from fedstill_client.privacy.spending import DAY_S, Spending
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.rounds.round import Interrupted
from fedstill_client.rounds.round_limits import memory_limited, stopping_after
from fedstill_client.store import PrivateStore
from fedstill_proto.arrays import Parameters
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import (
    PersonalPlan,
    RoundTask,
    RowSelection,
    StartPlan,
    StartSource,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.privacy import Noising
from fedstill_proto.refusal import Refusal
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.v1 import fedstill_pb2 as pb
from typer.testing import CliRunner

from tests.client.agent_samples import OPEN, PLAIN_TOO, enrolled_home, trainable_package
from tests.client.flower_calls import FLOAT32, call, node_of, packed
from tests.client.samples import artifact, examples, plan, student, task

FOUR_BIT = parse_codec("dense,4bit,log,entropy")
ROWS = np.arange(12)
PLAIN = SummaryRequest(SummaryKind.PUBLIC_SET, FOUR_BIT, ROWS, relative=True)
"""What the default method asks."""
EPOCHS_BY_DEFAULT = DevicePolicy().most_epochs


def asked(round: int = 1, *, request: SummaryRequest = PLAIN, **training: Any) -> RoundTask:
    """A task as fleets send it, which brings no weights."""
    training = {"batch_size": 16, "learning_rate": 0.02, **training}
    brought = task(plan(**training), round=round, request=request, parameters={})
    return replace(brought, start=StartPlan(source=StartSource.OWN))


def home_of(folder: Path, policy: DevicePolicy | None = None, *, private: int = 16) -> AgentHome:
    """A home whose student learns by gradient descent, 16 examples a step."""
    home = enrolled_home(folder, policy=policy)
    package = trainable_package(2)
    graphs = artifact(step_rows=16)
    manifest = replace(package.manifest, optimizer=graphs.manifest.optimizer)
    with PrivateStore.open(home) as store:
        install(
            home,
            store,
            replace(
                package,
                manifest=manifest,
                training_graph=graphs.training_graph,
                forward_graph=graphs.forward_graph,
            ),
        )
        x, labels = examples(private, seed=1)
        store.observe_all(list(zip(x, labels, strict=True)), held_out=False)
    return home


def perform(home: AgentHome, asked: RoundTask, **options: Any) -> bytes:
    with FleetDevice.opened(home.folder) as device:
        return device.perform(asked, **options)


def trap() -> Parameters:
    """A student whose hidden units each let those examples through whose sum is above a threshold."""
    start = {name: array.copy() for name, array in student().items()}
    units = len(start["hidden.bias"])
    start["hidden.weight"][:] = 1.0
    start["hidden.bias"][:] = -np.linspace(-8, 8, units)
    start["output.weight"][:] = np.array([[1e-3], [2e-3], [-1e-3]], np.float32)  # alike for all units
    start["output.bias"][:] = 0
    return start


def trapped(request: SummaryRequest) -> RoundTask:
    """A task that has the device train the trap, whatever student it has."""
    return replace(asked(request=request), start=None, parameters=trap(), replace_student=True)


def rebuilt(trained: Parameters, start: Parameters) -> np.ndarray:
    """The examples [n, 6] that moved one unit and not its neighbour."""
    weight = np.diff(trained["hidden.weight"].astype(float) - start["hidden.weight"], axis=0)
    bias = np.diff(trained["hidden.bias"].astype(float) - start["hidden.bias"])
    moved = np.abs(bias) > 1e-7
    return weight[moved] / bias[moved, None]


class TestAttack:
    """Attack 2: tasks by which a server rebuilds private examples."""

    def test_trap_weights_give_private_examples_away_where_the_owner_allows_it(self, tmp_path: Path) -> None:
        start, home = trap(), home_of(tmp_path / "home", OPEN)
        weights = asked(request=SummaryRequest(SummaryKind.PARAMETERS), learning_rate=1e4)
        asks = replace(weights, start=None, parameters=start, replace_student=True)

        summary = pb.SoftLabelSummary.FromString(perform(home, asks))

        trained = {
            tensor.name: np.frombuffer(tensor.data, "<f4").reshape(tuple(tensor.shape))
            for tensor in summary.statistics.parameters
        }
        private, _ = examples(16, seed=1)
        found = rebuilt(trained, start)
        nearest = np.abs(found[:, None] - private[None]).max(axis=2).min(axis=0)
        assert (nearest < 1 / 32).sum() >= 8, nearest  # of 16 examples, in one task

    @pytest.mark.parametrize(
        ("request_", "said"),
        [
            (
                SummaryRequest(SummaryKind.PARAMETERS),
                "answers: parameters is asked for, the bound is public-set",
            ),
            (SummaryRequest(SummaryKind.PUBLIC_SET, FLOAT32, ROWS), "encodings: float32 is asked for"),
            (
                SummaryRequest(SummaryKind.PARAMETERS, noising=Noising(10.0, 0.05)),
                "least_noise_multiplier: 0.05 is asked for, the bound is 0.5",
            ),
        ],
        ids=["weights", "float32 soft labels", "weights with next to no noise"],
    )
    def test_its_tasks_are_refused_by_default(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, request_: SummaryRequest, said: str
    ) -> None:
        home = home_of(tmp_path / "home")
        asks = replace(asked(request=request_), start=None, parameters=trap(), replace_student=True)
        quiet(home)

        reply = call("train", packed(asks), node_of(home.folder))

        assert (reply.error.code, reply.error.reason) == (Refusal.POLICY.code, "policy")
        (line,) = [one.message for one in caplog.records if "refused" in one.message]
        assert said in line
        with PrivateStore.open(home) as store:
            assert store.ledger.releases() == []
            (noted,) = last_refusals(store.ledger)
        assert (noted.run, noted.round) == ("abcd1234", 1)
        assert said in noted.text

    def test_weights_for_a_device_without_a_student_are_not_used(self, tmp_path: Path) -> None:
        home = home_of(tmp_path / "home", PLAIN_TOO)
        offered = replace(asked(epochs=0), start=None, parameters=trap(), replace_student=False)
        with FleetDevice.opened(home.folder) as device:
            device.perform(offered)
            kept = device.store.latest()
        assert kept is not None
        for name, installed in trainable_package(2).parameters.items():
            np.testing.assert_array_equal(kept.parameters[name], installed)


def quiet(home: AgentHome) -> None:
    """Let the device work however busy this machine is."""
    rules = {"max_other_load": 1, "min_free_memory_mb": 0, "external_power": False, "max_temperature_c": 0}
    rules |= {"unmetered_network": False, "min_free_disk_mb": 0, "min_battery_percent": 0}
    (home.folder / "eligibility.json").write_text(json.dumps(rules))


class TestRules:
    """Each rule, by itself."""

    def test_the_default_method_s_task_passes(self, tmp_path: Path) -> None:
        home = home_of(tmp_path / "home", PLAIN_TOO)
        assert perform(home, asked(epochs=8, temperature=2.0))
        with PrivateStore.open(home) as store:
            (release,) = store.ledger.releases()
            spent = Spending.from_json(store.ledger.noted("spending"))
        assert release.kind == "public-set"
        assert (spent.rounds[0][1], spent.bytes_in_all, spent.rounds_of_release) == (
            18,
            18,
            1,
        )  # 12 x 3 x 4 bits

    def test_nothing_leaves_without_noise_unless_the_owner_allows_it(self, tmp_path: Path) -> None:
        home = home_of(tmp_path / "home", DevicePolicy())
        with pytest.raises(PolicyRefused, match="protection: plain is asked for, the bound is noise, shared"):
            perform(home, asked())
        with FleetDevice.opened(home.folder) as device, pytest.raises(PolicyRefused, match="right answers"):
            device.evaluate(asked())
        noising = Noising(10.0, 2.0)
        noised = SummaryRequest(SummaryKind.PUBLIC_SET, public_rows=ROWS, relative=True, noising=noising)
        assert perform(home, asked(request=noised))

    @pytest.mark.parametrize(
        ("asks", "said"),
        [
            (asked(request=SummaryRequest(SummaryKind.CLASS_MEANS, FOUR_BIT)), "answers: class-means"),
            (asked(request=replace(PLAIN, class_counts=True)), "answers: class-counts"),
            (asked(request=replace(PLAIN, selection=RowSelection(0.5))), "answers: row-selection"),
            (asked(request=replace(PLAIN, anchor_rows=ROWS[:3])), "answers: features"),
            (
                asked(request=replace(PLAIN, codec=SoftLabelCodec(Encoding.FLOAT16))),
                "encodings: float16 is asked for, the bound is uint8, top-k, levels, gaussian, drawn; ",
            ),
            (asked(request=replace(PLAIN, public_rows=np.arange(513))), "most_rows: 513 is asked for"),
            (asked(learning_rate=0.11), "most_learning_rate: 0.11 is asked for, the bound is 0.1"),
            (asked(epochs=21), "most_epochs: 21 is asked for, the bound is 20"),
            (
                replace(asked(epochs=1), personal=PersonalPlan(epochs=20, learning_rate=0.02)),
                "most_epochs: 21 is asked for, the bound is 20",
            ),
            (asked(temperature=0.5), "least_temperature: 0.5 is asked for, the bound is 1"),
            (asked(temperature=21.0), "most_temperature: 21 is asked for, the bound is 20"),
            (
                replace(asked(), start=None, parameters=trap(), replace_student=True),
                "starts: task is asked for, the bound is installed, own",
            ),
        ],
    )
    def test_what_goes_beyond_a_rule_is_refused(self, tmp_path: Path, asks: RoundTask, said: str) -> None:
        home = home_of(tmp_path / "home", PLAIN_TOO)
        with pytest.raises(PolicyRefused) as caught:
            perform(home, asks)
        assert str(caught.value).startswith(said)
        assert caught.value.refusal is Refusal.POLICY

    @pytest.mark.parametrize(
        ("rule", "rounds"),
        [
            ({"rounds_a_day": 2}, 2),
            ({"rounds_of_release": 2}, 2),
            ({"bytes_a_day": 40}, 2),
            ({"bytes_in_all": 53}, 2),
        ],
    )
    def test_a_day_and_a_life_have_an_end(self, tmp_path: Path, rule: dict[str, Any], rounds: int) -> None:
        home = home_of(tmp_path / "home", replace(PLAIN_TOO, **rule))
        for number in range(1, rounds + 1):
            perform(home, asked(number))
        with pytest.raises(PolicyRefused, match=next(iter(rule))) as caught:
            perform(home, asked(rounds + 1))
        assert caught.value.refusal is Refusal.BUDGET

    def test_weights_are_not_measured_either(self, tmp_path: Path) -> None:
        home = home_of(tmp_path / "home", PLAIN_TOO)
        asks = replace(asked(), start=None, parameters=trap(), replace_student=True)
        with FleetDevice.opened(home.folder) as device, pytest.raises(PolicyRefused, match="starts: task"):
            device.evaluate(asks)

    def test_evaluations_have_an_end(self, tmp_path: Path) -> None:
        home = home_of(tmp_path / "home", replace(PLAIN_TOO, evaluations_a_day=1))
        with FleetDevice.opened(home.folder) as device:
            device.evaluate(asked())
            with pytest.raises(PolicyRefused, match="evaluations_a_day: 2 is asked for, the bound is 1"):
                device.evaluate(asked())

    def test_a_round_that_is_begun_counts_even_if_it_fails(self, tmp_path: Path) -> None:
        home = home_of(tmp_path / "home", replace(PLAIN_TOO, rounds_a_day=1))
        with pytest.raises(Interrupted):
            perform(home, asked(), stop=lambda: "busy")
        with pytest.raises(PolicyRefused, match="rounds_a_day"):
            perform(home, asked())


def test_a_day_ends_and_a_life_does_not() -> None:
    now = time.time()
    spent = Spending().with_round(now - DAY_S - 1, 100, release=1).with_evaluation(now - DAY_S - 1)
    today = spent.today(now)
    assert today.by_rule() == {
        "rounds_a_day": 0,
        "rounds_of_release": 1,
        "bytes_a_day": 0,
        "bytes_in_all": 100,
        "evaluations_a_day": 0,
    }
    assert Spending.from_json(spent.to_json()) == spent
    newer = today.with_round(now, 5, release=2)
    assert (newer.rounds_of_release, newer.bytes_in_all) == (1, 105)
    assert newer.today(now - 10 * DAY_S) == newer  # a clock that was put back gives nothing back


def test_a_round_ends_in_time(tmp_path: Path) -> None:
    home = home_of(tmp_path / "home", replace(OPEN, most_seconds=0.0))
    with pytest.raises(Interrupted, match="most_seconds: the round takes longer than 0 s"):
        perform(home, asked(epochs=1000))
    assert stopping_after(60, lambda: "busy")() == "busy"


def test_a_round_has_so_much_memory() -> None:
    with memory_limited(64):
        np.ones(1 << 20)  # 8 MiB
        with pytest.raises(MemoryError):
            np.ones(1 << 25)  # 256 MiB
    np.ones(1 << 25)


class TestFile:
    """policy.json and its command."""

    @pytest.mark.parametrize(
        "content",
        [
            "[]",
            "{",
            '{"epsilon": 0}',
            '{"most_epochs": true}',
            '{"most_epochs": 1.5}',
            '{"answers": ["all"]}',
            '{"delta": 1}',
            '{"x": 1}',
        ],
    )
    def test_a_damaged_policy_stops_the_device(self, tmp_path: Path, content: str) -> None:
        home = home_of(tmp_path / "home")
        (home.folder / "policy.json").write_text(content)
        with pytest.raises(FedstillError, match=r"policy\.json: cannot be used"):
            perform(home, asked())

    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        OPEN.write(tmp_path)
        assert DevicePolicy.read(tmp_path) == OPEN
        (tmp_path / "policy.json").write_text('{"most_epochs": 3}')
        assert DevicePolicy.read(tmp_path) == DevicePolicy(most_epochs=3)

    def test_an_earlier_home_is_moved_over_and_told_once(self, tmp_path: Path) -> None:
        (tmp_path / "privacy.json").write_text('{"epsilon": 4.0, "delta": 1e-06}')
        before = DevicePolicy.read(tmp_path)
        news = adopt(tmp_path)
        assert news is not None
        assert "the default policy with your budget of epsilon 4 from now on" in news
        assert "\n" not in news
        assert not (tmp_path / "privacy.json").exists()
        assert DevicePolicy.read(tmp_path) == before
        assert before == DevicePolicy(epsilon=4.0, delta=1e-6, least_noise_multiplier=0.0)
        assert adopt(tmp_path) is None

    def test_the_command_shows_and_sets(self, tmp_path: Path) -> None:
        home = home_of(tmp_path / "home")
        with pytest.raises(PolicyRefused):
            perform(home, asked(epochs=21))

        def policy(*words: str) -> Any:
            done = CliRunner().invoke(app, ["policy", "--home", str(home.folder), "--json", *words])
            assert done.exit_code == 0, done.output
            return json.loads(done.output)

        shown = policy()
        assert shown["policy"] == DevicePolicy().to_json()
        assert shown["spent"]["rounds_a_day"] == 0
        assert "most_epochs: 21" in shown["refused"][0]["text"]
        words = ("--allow", "parameters", "--allow", "task", "--deny", "uint8", "--set", "most_epochs=30")
        set_ = policy(*words)["policy"]
        assert set_["answers"] == ["public-set", "parameters"]
        assert set_["starts"] == ["installed", "own", "task"]
        assert (set_["encodings"], set_["most_epochs"]) == (["top-k", "levels", "gaussian", "drawn"], 30)
        assert policy("--set", "answers=")["policy"]["answers"] == []
        assert policy("--default")["policy"] == DevicePolicy().to_json()

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--allow", "parametres"], "did you mean parameters"),
            (["--set", "most_epoch=3"], "did you mean most_epochs"),
            (["--set", "most_epochs=many"], "not a whole number"),
            (["--set", "protection=armour"], "are not words of noise, shared-noise, sum, plain"),
            (["--set", "rounds_a_day"], "give RULE=VALUE"),
        ],
    )
    def test_a_wrong_word_is_named(self, tmp_path: Path, words: list[str], said: str) -> None:
        home = home_of(tmp_path / "home")
        done = CliRunner().invoke(app, ["policy", "--home", str(home.folder), *words])
        assert isinstance(done.exception, FedstillError)
        assert said in str(done.exception)

    def test_the_table_says_what_each_rule_costs(self, tmp_path: Path) -> None:
        home = home_of(tmp_path / "home", DevicePolicy(most_epochs=3))
        done = CliRunner().invoke(app, ["policy", "--home", str(home.folder)], env={"COLUMNS": "200"})
        assert "3 *" in done.output
        assert "from which private examples can be rebuilt" in " ".join(done.output.split())
