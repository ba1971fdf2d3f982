"""Torch clients of a Flower project: they do what fedstill's devices do, or train by code of one's own."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fedstill_client.device_description import DeviceDescription
from fedstill_client.rounds.device import INSTALLED_FILE, FleetDevice
from fedstill_proto import flower_records
from fedstill_proto.arrays import parameter_specs
from fedstill_proto.codec.api import Expected, decode_summary
from fedstill_proto.messages import (
    ClassSoftLabels,
    Optimizer,
    PublicSoftLabels,
    RoundTask,
    RowSelection,
    SoftLabelSummary,
    SoftTargets,
    StartPlan,
    StartSource,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.package.artifact import TrainingArtifact, encode_parameters
from fedstill_proto.refusal import Refusal
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels, keep_top_k
from fedstill_server.export.build import ArtifactOptions, build_artifact
from fedstill_server.families import build_student
from fedstill_server.training.networks import parameters_of, seeded
from flwr.app import Context, Message, MetricRecord, RecordDict
from torch import nn

import fedstill as fs
from fedstill.flower.device import STUDENTS_KEY, TorchDevice
from fedstill.flower.training import train_as_planned
from tests.client.flower_calls import FLOAT32, call, packed
from tests.client.samples import (
    CLASSES,
    FAMILY,
    SHAPE,
    artifact,
    examples,
    plan,
    soft_rows,
    student,
    task,
    write_device,
)

ROWS = np.arange(12)
PUBLIC = PublicSoftLabels(ROWS, DenseSoftLabels(soft_rows(12)))
TOP_2 = PublicSoftLabels(ROWS, keep_top_k(DenseSoftLabels(soft_rows(12)), 2))
OF_CLASSES = ClassSoftLabels(np.array([0, 2]), DenseSoftLabels(soft_rows(2)))
PUBLIC_ROWS = SummaryRequest(SummaryKind.PUBLIC_SET, FLOAT32, ROWS)
RELATIVE = SummaryRequest(SummaryKind.PUBLIC_SET, FLOAT32, ROWS, relative=True)
REQUESTS = {
    "public rows": PUBLIC_ROWS,
    "class counts": SummaryRequest(SummaryKind.PUBLIC_SET, FLOAT32, ROWS, class_counts=True),
    "relative": RELATIVE,
    "selected": SummaryRequest(SummaryKind.PUBLIC_SET, FLOAT32, ROWS, selection=RowSelection(0.2, 0.95)),
    "class means": SummaryRequest(SummaryKind.CLASS_MEANS, FLOAT32),
    "prototypes": SummaryRequest(SummaryKind.CLASS_PROTOTYPES, anchor_rows=ROWS[:4]),
    "parameters": SummaryRequest(SummaryKind.PARAMETERS),
}
TARGETS: dict[str, SoftTargets | None] = {"none": None, "of public rows": PUBLIC, "of classes": OF_CLASSES}


@functools.cache
def with_features() -> TrainingArtifact:
    options = ArtifactOptions(
        family=FAMILY,
        input_shape=SHAPE,
        classes=CLASSES,
        optimizer=Optimizer.SGD,
        soft_labels="dense",
        stack_size=1,
        step_rows=8,
        features=True,
    )
    return build_artifact(options, verify=False)


def torch_device(folder: Path) -> TorchDevice:
    """The device that the folder describes, of torch."""
    with np.load(folder / "private.npz") as own, np.load(folder / "public.npz") as public:
        data = fs.Device(own["x_train"], own["y_train"], x_test=own["x_test"], y_test=own["y_test"])
        public_x = public["x"]
    with np.load(folder / "global_test.npz") as everyone:
        test = everyone["x"], everyone["y"]
    who = DeviceDescription("kitchen", FAMILY)
    return TorchDevice.of(who, data, classes=CLASSES, public=public_x, test=test, state=RecordDict())


def read(blob: bytes, asked: RoundTask) -> SoftLabelSummary:
    return decode_summary(blob, expected=Expected.of(asked, CLASSES, artifact().manifest.parameters))


def assert_alike(found: bytes, expected: bytes, asked: RoundTask) -> None:
    """Two summaries hold the same numbers, within 1e-4."""
    one, other = (read(blob, asked).statistics for blob in (found, expected))
    np.testing.assert_array_equal(one.present_classes, other.present_classes)
    np.testing.assert_array_equal(one.class_examples, other.class_examples)
    assert one.examples == other.examples
    assert one.parameters.keys() == other.parameters.keys()
    for name, array in one.parameters.items():
        np.testing.assert_allclose(array, other.parameters[name], atol=1e-4, rtol=0)
    if other.answered is not None:
        np.testing.assert_array_equal(one.answered, other.answered)
    if other.soft_labels is not None:
        assert one.soft_labels is not None
        np.testing.assert_allclose(one.soft_labels.dense(), other.soft_labels.dense(), atol=1e-4, rtol=0)
    if other.features is not None:
        assert one.features is not None
        np.testing.assert_allclose(one.features, other.features, atol=1e-4, rtol=0)


class TestParity:
    """The same tasks to a torch client and to a device without torch: the same answers, within 1e-4."""

    @pytest.mark.parametrize("name", list(REQUESTS))
    def test_every_kind_of_answer(self, tmp_path: Path, name: str) -> None:
        built = with_features() if name == "prototypes" else artifact()
        onnx = FleetDevice.open(write_device(tmp_path / "device", built))
        asked = task(plan(epochs=2, soft_weight=0.5), soft_targets=PUBLIC, request=REQUESTS[name])

        found = torch_device(onnx.folder).perform(asked, train_as_planned)

        assert_alike(found, onnx.perform(asked), asked)

    def test_a_start_from_the_installed_student(self, tmp_path: Path) -> None:
        """That of a torch client is the network as its owner's code makes it."""
        asked = task(plan(epochs=2, soft_weight=0.5), parameters={}, soft_targets=PUBLIC, request=RELATIVE)
        start = StartPlan(source=StartSource.INSTALLED, epochs=5, learning_rate=0.3, input_noise=0.1)
        asked = replace(asked, start=start)
        folder = write_device(tmp_path / "device", artifact())
        with seeded(asked.training.seed):
            made = parameters_of(build_student(FAMILY, SHAPE, CLASSES))
        (folder / INSTALLED_FILE).write_bytes(encode_parameters(made))

        found = torch_device(folder).perform(asked, train_as_planned)

        assert_alike(found, FleetDevice.open(folder).perform(asked), asked)

    @pytest.mark.parametrize("optimizer", list(Optimizer))
    @pytest.mark.parametrize("targets", list(TARGETS))
    def test_every_optimizer_and_target(self, tmp_path: Path, optimizer: Optimizer, targets: str) -> None:
        onnx = FleetDevice.open(write_device(tmp_path / "device", artifact(optimizer=optimizer)))
        training = plan(epochs=3, learning_rate=0.01, optimizer=optimizer, soft_weight=0.4)
        asked = task(training, soft_targets=TARGETS[targets], request=REQUESTS["parameters"])

        found = torch_device(onnx.folder).perform(asked, train_as_planned)

        assert_alike(found, onnx.perform(asked), asked)

    def test_top_k_targets(self, tmp_path: Path) -> None:
        onnx = FleetDevice.open(write_device(tmp_path / "device", artifact(soft_labels="top-k", k=2)))
        asked = task(plan(epochs=2, soft_weight=0.5), soft_targets=TOP_2, request=REQUESTS["parameters"])

        found = torch_device(onnx.folder).perform(asked, train_as_planned)

        assert_alike(found, onnx.perform(asked), asked)

    def test_rounds_that_go_on_and_what_is_counted(self, tmp_path: Path) -> None:
        """Of a gate that holds examples out, too; the second task brings no student."""
        onnx = FleetDevice.open(write_device(tmp_path / "device", artifact(), private=40))
        mine = torch_device(onnx.folder)
        for number in (1, 2):
            asked = task(
                replace(plan(epochs=2, soft_weight=0.5), held_out=0.25, proximal=0.5),
                round=number,
                soft_targets=PUBLIC,
                request=PUBLIC_ROWS,
                parameters=student() if number == 1 else {},
            )
            assert_alike(mine.perform(asked, train_as_planned), onnx.perform(asked), asked)

        asked = task(round=2, parameters={})
        assert vars(mine.evaluate(asked)) == vars(onnx.evaluate(asked))


class HomeNet(nn.Module):
    """A network of one's own, with dropout and a buffer."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(input_shape[0], 8)
        self.last = nn.Linear(8, classes)
        self.drop = nn.Dropout(0.2)
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last(self.drop(torch.relu(self.hidden(x * self.scale))))
        return logits


def load_data(context: Context) -> tuple[np.ndarray, np.ndarray]:
    return examples(20, seed=int(str(context.node_config.get("partition-id", 0))))


def app(students: object = HomeNet, **settings: object) -> fs.flower.ClientApp:
    usual = {"data": load_data, "classes": CLASSES, "public": examples(12, seed=3)}
    return fs.flower.ClientApp(students, **{**usual, **settings})  # type: ignore[arg-type]


def node(partition: int | None = 0, **config: str) -> Context:
    own = {} if partition is None else {"partition-id": partition}
    return Context(1, 22, {**own, **config}, RecordDict(), {})


def who(students: object, context: Context, **settings: object) -> tuple[str, str]:
    reply = call("query.hello", flower_records.hello("abcd1234"), context, app(students, **settings))
    greeting = flower_records.read_hello_reply(reply.content)
    return greeting.device, greeting.family


def net_task(**changes: object) -> RoundTask:
    network = HomeNet(SHAPE, CLASSES)
    parameters = {name: value.detach().numpy() for name, value in network.named_parameters()}
    settings = {"family": "HomeNet", "parameters": parameters, "soft_targets": PUBLIC, "request": PUBLIC_ROWS}
    return task(plan(epochs=2, soft_weight=0.5), **{**settings, **changes})  # type: ignore[arg-type]


def summary(reply: Message) -> bytes:
    return flower_records.unpack(reply.content, "SoftLabelSummary", size_limit_bytes=100_000)


class TestApp:
    def test_a_device_says_who_it_is(self) -> None:
        assert who(HomeNet, node(3)) == ("device-3", "HomeNet")
        assert who(fs.Student(HomeNet, name="mine"), node(None)) == ("node-22", "mine")
        assert who("mlp-16", node(**{"fedstill-name": "kitchen"})) == ("kitchen", "mlp-16")
        assert who(HomeNet, node(2), name=lambda context: f"home-{context.node_id}") == ("home-22", "HomeNet")

    def test_students_are_dealt_out(self) -> None:
        students = [fs.Student("mlp-8", devices=["device-2"]), HomeNet, "mlp-16"]
        found = [who(students, node(partition))[1] for partition in range(4)]
        assert found == ["HomeNet", "mlp-16", "mlp-8", "mlp-16"]
        assert who(students, node(0, **{"fedstill-family": "mlp-16"}))[1] == "mlp-16"

    def test_a_node_that_nobody_gives_a_student_says_what_to_do(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        reply = call("query.hello", flower_records.hello("abcd1234"), node(None), app([HomeNet, "mlp-16"]))
        assert reply.error.code == Refusal.FAILED.code
        assert "--node-config 'fedstill-family=\"HomeNet\"'" in caplog.text

    def test_a_round_and_its_evaluation(self) -> None:
        context, mine = node(1), app(test=examples(30, seed=5))
        asked = net_task()

        blob = summary(call("train", packed(asked), context, mine))
        counts = call("evaluate", packed(net_task(parameters={})), context, mine).content["fedstill"]

        answer = decode_summary(blob, expected=Expected.of(asked, CLASSES))
        assert answer.statistics.soft_labels is not None
        assert answer.statistics.soft_labels.rows == 12
        assert isinstance(counts, MetricRecord)
        assert (counts["personal_examples"], counts["global_examples"]) == (5, 30)
        assert STUDENTS_KEY in context.state

    def test_the_same_round_again_has_the_same_answer(self) -> None:
        context, mine, again = node(1), app(), packed(net_task())
        assert summary(call("train", again, context, mine)) == summary(call("train", again, context, mine))

    def test_a_node_that_lost_its_state_says_so(self) -> None:
        reply = call("train", packed(net_task(round=2, parameters={})), node(1), app())
        assert reply.error.code == Refusal.NO_STUDENT.code

    def test_training_code_of_ones_own(self) -> None:
        seen: list[tuple[int, int, float]] = []

        def train(network: nn.Module, training: fs.flower.LocalTraining) -> None:
            optimizer = torch.optim.Adam(network.parameters(), lr=training.plan.learning_rate)
            hard = functools.partial(nn.functional.cross_entropy, reduction="none", label_smoothing=0.1)
            for start in range(0, len(training.y), 5):
                rows = slice(start, start + 5)
                optimizer.zero_grad()
                loss = training.loss(network, training.x[rows], training.y[rows], hard=hard)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            seen.append((training.round, len(training.y), training.mean_loss))

        context = node(1)
        asked = net_task(request=REQUESTS["parameters"])
        reply = call("train", packed(asked), context, app(train=train))

        (number, count, loss) = seen[0]
        assert (number, count) == (1, 15)
        assert 0 < loss < 5
        specs = Expected.of(asked, CLASSES, parameter_specs(asked.parameters))
        moved = decode_summary(summary(reply), expected=specs).statistics.parameters
        assert any(np.abs(moved[name] - start).max() > 1e-3 for name, start in asked.parameters.items())

    def test_a_defect_of_ones_own_code_keeps_its_words(self, caplog: pytest.LogCaptureFixture) -> None:
        def broken(network: nn.Module, training: fs.flower.LocalTraining) -> None:
            raise ZeroDivisionError(f"secret {training.x}")

        reply = call("train", packed(net_task()), node(1), app(train=broken))

        assert reply.error.code == Refusal.FAILED.code
        assert "secret" not in str(reply.error.reason)
        assert "secret" in caplog.text

    def test_examples_that_cannot_be_used_stay_on_the_device(self, caplog: pytest.LogCaptureFixture) -> None:
        def wrong(context: Context) -> tuple[np.ndarray, np.ndarray]:
            return np.zeros((4, 6)), np.array([0, 1, 2, 7654321])

        reply = call("train", packed(net_task()), node(1), app(data=wrong))

        assert reply.error.reason == "failed"
        assert "7654321" in caplog.text

    def test_wrong_students_are_refused_when_the_app_is_made(self) -> None:
        with pytest.raises(fs.FedstillError, match="did you mean mlp-small"):
            app("mlp-smal")
        with pytest.raises(fs.FedstillError, match="'HomeNet' is named twice"):
            app([HomeNet, HomeNet])
        with pytest.raises(fs.FedstillError, match="students: none given"):
            app([])

    def test_handlers_for_an_app_of_ones_own(self) -> None:
        client = fs.flower.TorchClient(
            students=HomeNet, data=load_data, classes=CLASSES, public=examples(12)[0]
        )
        reply = call("train", packed(net_task()), node(1), client.on_train)
        assert not reply.has_error()


class TestLoss:
    def test_by_hand(self) -> None:
        """One private example of class 2, one public one; all logits 0, three classes, T = 2, a = 0.4."""
        target = np.array([[0.5, 0.25, 0.25]], np.float32)
        told = PublicSoftLabels(np.array([0]), DenseSoftLabels(target))
        found = loss_of(told)
        divergence = 0.5 * np.log(1.5) + 0.5 * np.log(0.75)
        assert found == pytest.approx(0.6 * np.log(3) + 0.4 * 4 * divergence, abs=1e-6)

    def test_of_a_class_that_the_fleet_says_nothing_of(self) -> None:
        of_class_0 = ClassSoftLabels(np.array([0]), DenseSoftLabels(soft_rows(1)))
        assert loss_of(of_class_0) == pytest.approx(np.log(3))

    def test_without_soft_labels(self) -> None:
        assert loss_of(None) == pytest.approx(np.log(3))


def loss_of(targets: SoftTargets | None) -> float:
    """The first loss of a network whose logits are 0, on a device with one example of class 2."""
    losses: list[float] = []

    def train(network: nn.Module, training: fs.flower.LocalTraining) -> None:
        for value in network.parameters():
            nn.init.zeros_(value)
        ((x, y),) = training.batches()
        losses.append(float(training.loss(network, x, y).detach()))

    own = fs.Device(np.ones((1, 6)), [2], x_test=np.ones((1, 6)), y_test=[2])
    who = DeviceDescription("kitchen", FAMILY)
    device = TorchDevice.of(who, own, classes=3, public=np.ones((1, 6)), test=None, state=RecordDict())
    device.perform(task(plan(soft_weight=0.4), soft_targets=targets), train)
    return losses[0]
