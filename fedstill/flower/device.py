"""A device whose student is a torch module, kept in Flower's state: its examples, and its part of a round."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fedstill_client.device_description import DeviceDescription, DeviceError
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.student_store import KeptStudents, OwnStudent
from fedstill_client.rounds.round import (
    DeviceStack,
    Evaluation,
    TrainingDiverged,
    evaluate,
    fleets_student,
    perform_round,
)
from fedstill_client.rounds.told_labels import ToldLabels
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.codec.told_labels import table_told
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import RoundTask
from fedstill_proto.package.artifact import StudentManifest
from flwr.app import Array, ArrayRecord, RecordDict

from fedstill.examples import Device, checked_x, checked_y, pair, read_x, split
from fedstill.flower.network import TorchForward, TorchTrainer, manifest_of

if TYPE_CHECKING:
    from torch import nn

    from fedstill.flower.training import Train

STUDENTS_KEY, TOLD_KEY = "fedstill-students", "fedstill-told"  # of a node's state
log = logging.getLogger("fedstill.device")


@dataclass(frozen=True)
class StudentsInState(KeptStudents):
    """A device's students in its node's state, which Flower keeps from message to message."""

    state: RecordDict

    @property
    def place(self) -> str:
        return f"this node's state, {STUDENTS_KEY}"

    def _load(self) -> bytes | None:
        record = self.state.get(STUDENTS_KEY)
        return record["safetensors"].data if isinstance(record, ArrayRecord) else None

    def _keep(self, blob: bytes) -> None:
        array = Array("uint8", (len(blob),), "fedstill.v1/students", blob)
        self.state[STUDENTS_KEY] = ArrayRecord({"safetensors": array})


@dataclass(frozen=True)
class ToldInState(ToldLabels):
    """What the fleet told a device, in its node's state."""

    state: RecordDict

    def _load(self) -> bytes | None:
        record = self.state.get(TOLD_KEY)
        return record["tables"].data if isinstance(record, ArrayRecord) else None

    def _keep(self, blob: bytes) -> None:
        self.state[TOLD_KEY] = ArrayRecord({"tables": Array("uint8", (len(blob),), "fedstill.v1/told", blob)})


@dataclass(frozen=True, eq=False)
class TorchDevice:
    """A device as a round finds it; all that it holds has been checked.

    Attributes:
        who: Its name and family, and how its own tests count its class frequencies.
        classes: How many there are.
        private: Its private examples, as a stack of one.
        held_out: Those that it is tested on.
        public_x: The public set [P, *shape], if it has one.
        global_test: Examples and labels that every device is tested on, if it has them.
        state: Its node's, where its student is kept.
    """

    who: DeviceDescription
    classes: int
    private: PrivateStack
    held_out: PrivateStack
    public_x: FloatArray | None
    global_test: tuple[FloatArray, IntArray] | None
    state: RecordDict

    @classmethod
    def of(
        cls,
        who: DeviceDescription,
        data: tuple[Any, Any] | Device,
        *,
        classes: int,
        public: Any,
        test: Any,
        state: RecordDict,
    ) -> TorchDevice:
        """The device of what its owner's functions give.

        Raises:
            DeviceError: Its private examples cannot be used; what is wrong with them is in its log alone.
            FedstillError: Those that it shares with everyone cannot be used.
        """
        try:
            own = split(
                "data",
                data if isinstance(data, Device) else Device(*pair("data", data)),
                None,
                (0, 0),
                read=read_x,
            )
            for y in (own.y, own.y_test):
                _check_classes("data", y, classes)
        except FedstillError as error:
            log.warning("%s: %s", who.name, error)
            raise DeviceError("this device's examples cannot be used; its log has the details.") from None
        public_x = public[0] if isinstance(public, tuple) else public
        global_test = None
        if test is not None:
            test_x, test_y = pair("test", test)
            test_x = _of_shape("test", test_x, own.x)
            global_test = test_x, _check_classes("test", checked_y("test", "y", test_y, len(test_x)), classes)
        return cls(
            who,
            classes,
            PrivateStack.of_one(own.x, own.y),
            PrivateStack.of_one(own.x_test, own.y_test),
            None if public_x is None else _of_shape("public", public_x, own.x),
            global_test,
            state,
        )

    def perform(self, task: RoundTask, train: Train) -> bytes:
        """Do a round: train the student, keep it, and return the encoded summary.

        The same round again starts from where it started the first time.

        Raises:
            NoStudent: Neither the task nor the node's state has one to start from.
            TrainingDiverged: The student left the finite numbers; the one from before is kept.
            FedstillError: The task asks for what this device cannot do.
        """
        network, manifest = self._network(task)
        students = StudentsInState(manifest, self.state)
        before = None if task.forgets else students.before(task.run, task.round)
        work = perform_round(
            self._stack(before, network, run=task.run),
            task,
            TorchTrainer(network, manifest, task, train),
            TorchForward(network, manifest),
            self.public_x,
        )
        summary = work.summaries[0]
        if summary is None:
            raise TrainingDiverged(task.training.learning_rate)
        trained = {name: array[0] for name, array in work.parameters.items()}
        beside = {name: array[0] for name, array in work.control_variates.items()}
        own = OwnStudent(task.run, task.round, trained, beside)
        students.save(own, before=before, fleet=fleets_student(task, work))
        ToldInState(self.state).keep(task.run, task.round, table_told(task.soft_targets))
        return summary

    def evaluate(self, task: RoundTask) -> Evaluation:
        """Right answers of the device's own student, or of the task's where that replaces it."""
        network, manifest = self._network(task)
        students = StudentsInState(manifest, self.state)
        own = self._stack(None if task.forgets else students.after(task.run, task.round), network)
        return evaluate(
            replace(own, fleet=students.fleet()),
            task,
            TorchForward(network, manifest),
            personal_test=self.held_out,
            global_test=self.global_test,
            owner_share=self.who.owner_share,
        )

    def _network(self, task: RoundTask) -> tuple[nn.Module, StudentManifest]:
        from fedstill_server.families import build_student
        from fedstill_server.training.networks import seeded

        family, shape = self.who.family, self.private.input_shape
        with seeded(task.training.seed):  # so that the devices of a run start from the same weights
            network = build_student(family, shape, self.classes)
        return network, manifest_of(network, task, family=family, input_shape=shape, classes=self.classes)

    def _stack(self, student: OwnStudent | None, network: nn.Module, *, run: str = "") -> DeviceStack:
        """This device as a stack of one; its owner's code makes the network that it has installed."""
        from fedstill_server.training.networks import parameters_of

        installed = parameters_of(network)
        return DeviceStack.of_one(self.who.name, self.private, student, installed=installed, run=run)


def _of_shape(where: str, given: Any, own_x: FloatArray) -> FloatArray:
    """Examples as a network reads them; of the shape of the device's own."""
    x = read_x(where, "x", given)
    return checked_x(where, "x", x, own_x.shape[1:])


def _check_classes(where: str, y: IntArray, classes: int) -> IntArray:
    """Labels [n], if all are of the classes there are."""
    if y.max() >= classes:
        raise DeviceError(
            f"{where}: label {y.max()}, but classes is {classes}; labels are 0 to {classes - 1}."
        )
    return y
