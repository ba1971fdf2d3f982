"""fedstill's rounds in a Flower project of one's own, over a Grid whose devices are torch clients."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from fedstill_client.rounds.device import INSTALLED_FILE
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import encode_parameters, save_artifact
from fedstill_server.export.build import ArtifactOptions, build_artifact
from fedstill_server.families import initial_parameters
from fedstill_sim.engine.grid import InProcessGrid
from flwr.app import Context, Error, Message, RecordDict
from torch import nn

import fedstill as fs
from tests.client.flower_calls import call, node_of

CLASSES, DEVICES = 3, 3


class PointNet(nn.Module):
    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(input_shape[0], 8)
        self.last = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last(torch.relu(self.hidden(x)))
        return logits


def drawn(seed: int, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Points around three centres, and which one."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count)
    return (np.eye(CLASSES, 4)[y] * 2 + rng.normal(size=(count, 4))).astype(np.float32), y


def load_data(context: Context) -> tuple[np.ndarray, np.ndarray]:
    return drawn(int(str(context.node_config["partition-id"])))


PUBLIC, TEST = drawn(100, 60), drawn(200, 90)


class TorchFleet(InProcessGrid):
    """Devices of one ClientApp, each with the state that Flower keeps of it.

    Args:
        app: What they run.
        others: What devices do that run something else, by number: how they answer a message's type.
        last: The round in whose training the server is killed.
    """

    def __init__(
        self,
        app: fs.flower.ClientApp,
        *,
        others: Mapping[int, Callable[[str, RecordDict], Message]] | None = None,
        last: int = 0,
    ) -> None:
        self.contexts = [
            Context(1, 22, {"partition-id": device}, RecordDict(), {}) for device in range(DEVICES)
        ]
        self._app, self._others, self._last = app, others or {}, last
        kinds = ("query.hello", "train", "evaluate")
        handlers = {kind: functools.partial(self._handle, kind) for kind in kinds}
        super().__init__(devices=DEVICES, handlers=handlers)

    def _handle(
        self, kind: str, devices: Sequence[int], contents: Sequence[RecordDict]
    ) -> list[RecordDict | Error]:
        if kind == "train":
            self._last -= 1
            if self._last == 0:
                raise KeyboardInterrupt
        replies = [self._reply(kind, *asked) for asked in zip(devices, contents, strict=True)]
        return [reply.error if reply.has_error() else reply.content for reply in replies]

    def _reply(self, kind: str, device: int, content: RecordDict) -> Message:
        if device in self._others:
            return self._others[device](kind, content)
        return call(kind, content, self.contexts[device], self._app)


def client(students: object = PointNet, **settings: object) -> fs.flower.ClientApp:
    usual = {"data": load_data, "classes": CLASSES, "public": PUBLIC, "test": TEST}
    return fs.flower.ClientApp(students, **{**usual, **settings})  # type: ignore[arg-type]


def server(students: object = PointNet, **settings: object) -> fs.flower.ServerApp:
    usual = {"public": PUBLIC, "test": TEST, "rounds": 2, "epochs": 2, "round_epochs": 5}
    return fs.flower.ServerApp(students, **{**usual, **settings})  # type: ignore[arg-type]


def run(
    app: fs.flower.ServerApp, fleet: TorchFleet | None = None, **config: object
) -> fs.flower.LearnedFleet:
    """What the app has learned; `fedstill_rounds=3` is of the Flower run's configuration."""
    fleet = fleet or TorchFleet(client())
    keys = {name.replace("_", "-"): value for name, value in config.items()}
    app(fleet, fleet.context(run_config=keys))  # type: ignore[arg-type]
    assert app.result is not None
    return app.result


METHODS = ["fedstill", "public-logits", "fedmd", "class-logits", "feddf", "fedavg", "local"]


@pytest.mark.parametrize("method", METHODS)
def test_torch_clients_learn_by_every_kind_of_method(method: str) -> None:
    seen: list[object] = []

    learned = run(server(method=method, on_round=seen.append))

    assert [one.round for one in learned.rounds] == [1, 2]
    assert seen == list(learned.rounds)
    assert all(one.accepted == DEVICES and not one.quarantined for one in learned.rounds)
    assert set(learned.start) == {"teacher", "PointNet"}
    assert learned.rounds[-1].global_accuracy is not None
    assert learned.rounds[-1].global_accuracy > 0.6
    logits = learned.student("PointNet")(torch.from_numpy(TEST[0]))
    assert (logits.argmax(1).numpy() == TEST[1]).mean() > 0.6


def test_several_students_and_a_method_with_options() -> None:
    students = [PointNet, fs.Student("mlp-16", devices=["device-1"])]
    method = fs.methods.Fedstill(server_step=0.3)

    learned = run(server(students, method=method), TorchFleet(client(students)))

    assert list(learned.students) == ["PointNet", "mlp-16"]
    assert learned.config.method.options["server_step"] == 0.3
    assert all(one.accepted == DEVICES for one in learned.rounds)


def test_a_public_set_without_labels_given_by_functions_of_the_context() -> None:
    app = server(public=lambda context: PUBLIC[0], test=lambda context: TEST, classes=CLASSES)

    learned = run(app, TorchFleet(client(public=lambda context: PUBLIC[0])))

    assert not learned.config.use_public_labels
    assert learned.rounds[-1].accepted == DEVICES


def test_teachers() -> None:
    made = PointNet((4,), CLASSES)
    before = [value.clone() for value in made.parameters()]

    learned = run(server(teacher=fs.Teacher(made, trained=True)))

    assert list(learned.teacher) == ["hidden.weight", "hidden.bias", "last.weight", "last.bias"]
    assert all(torch.equal(value, old) for value, old in zip(made.parameters(), before, strict=True))
    assert run(server(), fedstill_teacher="mlp-32").config.teacher.network == "mlp-32"


def test_an_agent_without_torch_is_in_the_same_fleet(tmp_path: Path) -> None:
    """Device 0 is a folder with a training artifact, which fedstill's own ClientApp opens."""
    options = ArtifactOptions(
        family="mlp-16",
        input_shape=(4,),
        classes=CLASSES,
        optimizer=Optimizer.MOMENTUM,
        soft_labels="dense",
        stack_size=1,
        step_rows=32,
    )
    (tmp_path / "device.json").write_text(json.dumps({"name": "agent", "family": "mlp-16"}))
    save_artifact(build_artifact(options), tmp_path / "artifact")
    x, y = drawn(0)
    np.savez(tmp_path / "private.npz", x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:])
    np.savez(tmp_path / "public.npz", x=PUBLIC[0])
    installed = initial_parameters("mlp-16", (4,), CLASSES, 0)
    (tmp_path / INSTALLED_FILE).write_bytes(encode_parameters(installed))

    def agent(kind: str, content: RecordDict) -> Message:
        return call(kind, content, node_of(tmp_path))

    learned = run(server("mlp-16"), TorchFleet(client("mlp-16"), others={0: agent}))

    assert [one.accepted for one in learned.rounds] == [DEVICES, DEVICES]
    assert not learned.rounds[-1].evaluation_failures


class TestConfiguration:
    def test_a_flower_run_says_options_in_place_of_the_code(self) -> None:
        app = server(method=fs.methods.Fedstill(server_step=0.3))
        learned = run(app, fedstill_method="fedmd", fedstill_rounds=1)
        assert (learned.config.method.name, len(learned.rounds)) == ("fedmd", 1)

    @pytest.mark.parametrize(
        ("settings", "config", "message"),
        [
            ({"round": 3}, {}, "ServerApp: option: 'round' is unknown; did you mean rounds"),
            ({"method": "fedstil"}, {}, "method: 'fedstil' is unknown; did you mean fedstill"),
            ({"rounds": 0}, {}, "rounds: 0 is not"),
            ({}, {"fedstill_round": 3}, "'fedstill-round' is unknown; did you mean fedstill-rounds"),
            ({"public": PUBLIC[0]}, {}, "classes: the public set has no labels"),
            ({"classes": 2}, {}, "classes: 2, but there is a label 2"),
            ({"test": (TEST[0][:, :3], TEST[1])}, {}, r"test: x has examples of shape \[3\], others"),
            ({"public": "x"}, {}, "public: x"),
        ],
    )
    def test_what_does_not_fit_is_named(
        self, settings: dict[str, object], config: dict[str, object], message: str
    ) -> None:
        with pytest.raises(fs.FedstillError, match=message):
            run(server(**settings), **config)

    def test_a_network_that_counts_its_batches_is_refused(self) -> None:
        def normalized(input_shape: tuple[int, ...], classes: int) -> nn.Module:
            return nn.Sequential(
                nn.Linear(input_shape[0], 8), nn.BatchNorm1d(8, momentum=None), nn.Linear(8, classes)
            )

        with pytest.raises(fs.FedstillError, match="normalized: 1 averages its statistics over all batches"):
            run(server(normalized))

    def test_students_of_another_task_are_refused(self) -> None:
        with pytest.raises(fs.FedstillError, match="families: 'gru' is not"):
            run(server("gru"))


class TestFolder:
    def test_a_run_that_was_stopped_goes_on(self, tmp_path: Path) -> None:
        whole = run(server(rounds=3))
        with pytest.raises(KeyboardInterrupt):
            run(server(rounds=3), TorchFleet(client(), last=3), fedstill_folder=str(tmp_path))

        # Another Flower run: no node knows its student any more.
        learned = run(server(rounds=3), fedstill_folder=str(tmp_path))

        assert [one.accepted for one in learned.rounds] == [DEVICES] * 3
        assert learned.start == whole.start
        before = [one.consensus_digest for one in learned.rounds[:2]]
        assert before == [one.consensus_digest for one in whole.rounds[:2]]
        assert (tmp_path / "server" / "final" / "students" / "PointNet.safetensors").exists()

    def test_a_run_that_has_ended_is_read(self, tmp_path: Path) -> None:
        first = run(server(), fedstill_folder=str(tmp_path))
        again = run(server(), fedstill_folder=str(tmp_path))
        assert again.rounds == first.rounds

    def test_a_folder_of_something_else_is_refused(self, tmp_path: Path) -> None:
        run(server(), fedstill_folder=str(tmp_path / "run"))
        with pytest.raises(fs.FedstillError, match="holds a run of other settings or other data"):
            run(server(seed=1), fedstill_folder=str(tmp_path / "run"))
        (tmp_path / "thesis.tex").touch()
        with pytest.raises(fs.FedstillError, match="holds files that are no run's"):
            run(server(), fedstill_folder=str(tmp_path))

    def test_two_runs_of_the_same_have_different_names(self) -> None:
        app, fleet, names = server(rounds=1), TorchFleet(client()), set()
        for run_id in (1, 2):
            context = fleet.context()
            context.run_id = run_id
            app(fleet, context)
            assert app.result is not None
            names.add(app.result.config.run)
        assert len(names) == 2


def test_a_main_function_of_ones_own() -> None:
    fleet = TorchFleet(client())
    rounds = fs.flower.DistillationServer(PointNet, public=PUBLIC, rounds=1)
    learned = rounds.run(fleet, fleet.context())
    assert learned.rounds[0].accepted == DEVICES
    with pytest.raises(fs.FedstillError, match="student: 'Nett' is unknown; there are PointNet"):
        learned.student("Nett")
