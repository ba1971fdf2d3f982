"""A device: a folder with its name, its private examples, its student's training artifact, and its state.

device.json       {"name": "kitchen", "family": "mlp-small"}, maybe "owner_share" (see label_prior.py)
artifact/         the training artifact, for one device (see fedstill_proto.package.artifact)
private.npz       x_train, y_train, x_test, y_test: these never leave the device
public.npz        x: the public set, as the server has it (only for tasks about public examples)
global_test.npz   x, y: everyone's examples, to measure on (optional)
installed.safetensors  the student that rounds start from where tasks bring none, as in a package (optional)
state/            the device's own student (see student_store.py); written by fedstill
answers/          what the device sent in its last rounds (see base_table_store.py); written by fedstill
told              what the fleet told it in its last rounds (see told_labels.py); written by fedstill

An enrolled agent's home (see home.py) is a device, too: its examples and its student are in the private
store, the rest comes from the installed student package.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray, Parameters
from fedstill_proto.codec.told_labels import table_told
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import RoundTask, SummaryKind
from fedstill_proto.package.artifact import (
    StudentManifest,
    TrainingArtifact,
    decode_parameters,
    load_artifact,
)
from fedstill_proto.v1 import fedstill_pb2 as pb

from fedstill_client.agent_types import Scope, Stop, check_scope
from fedstill_client.device_description import DeviceDescription, DeviceError
from fedstill_client.home import AgentHome
from fedstill_client.keyboard.typed_rows import learning_examples
from fedstill_client.learning.soft_term import encode_fleet_labels
from fedstill_client.model.examples import checked_examples, read_labelled, read_npz
from fedstill_client.model.forward import Forward
from fedstill_client.model.limits import limit_memory
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.student_store import OwnStudent, StudentHistory, StudentStore
from fedstill_client.model.targets import app_answers
from fedstill_client.model.trainer import Personalizer
from fedstill_client.packages.install import load_installed
from fedstill_client.privacy.guard import PolicyGuard, TaskSize
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.privacy.statement import read_statement
from fedstill_client.rounds.base_table_store import BaseTableStore
from fedstill_client.rounds.round import (
    AnotherGeneration,
    DeviceStack,
    Evaluation,
    NoStudent,
    RoundOptions,
    TrainingDiverged,
    evaluate,
    fleets_student,
    interrupting,
    owners_prior,
    perform_round,
)
from fedstill_client.rounds.round_limits import memory_limited, stopping_after
from fedstill_client.rounds.told_labels import ToldLabels, ToldLabelsFile
from fedstill_client.secure_sums.home_sums import HomeSums
from fedstill_client.store import PrivateStore, Release, StoredExamples

log = logging.getLogger("fedstill.device")

PRIVATE_FILE = "private.npz"
PUBLIC_FILE = "public.npz"
GLOBAL_TEST_FILE = "global_test.npz"
INSTALLED_FILE = "installed.safetensors"

# Numbers in a round's plan, which is made before its first step: 32 MB, and less than a second on a core. To
# draw the order of an epoch takes as long as 400 of them.
PLAN_LIMIT, _EPOCH_COSTS = 4_000_000, 400


@dataclass(frozen=True)
class FleetDevice:
    """An opened device folder, or agent's home; all that it holds has been checked."""

    folder: Path
    description: DeviceDescription
    artifact: TrainingArtifact
    private: PrivateStack
    held_out: PrivateStack
    public_x: FloatArray | None  # [P, *shape]
    global_test: tuple[FloatArray, npt.NDArray[Any]] | None
    store: StudentHistory
    installed: Parameters | None = None  # [*shape] of its package: what rounds may start from
    private_store: PrivateStore | None = None  # of an agent's home

    @classmethod
    def open(cls, folder: Path) -> FleetDevice:
        """Read and check a device's folder, or an agent's home; close the device in the end.

        Raises:
            FedstillError: A file is missing or not what it should be; the text names it.
        """
        description = DeviceDescription.read(folder)
        if AgentHome.is_at(folder):
            return cls._of_home(AgentHome(folder), description)
        artifact = load_artifact(folder / "artifact")
        _check_artifact(artifact.manifest, description, folder)
        private, held_out = (
            PrivateStack.of_one(
                *read_labelled(folder / PRIVATE_FILE, artifact.manifest, x=f"x_{part}", y=f"y_{part}")
            )
            for part in ("train", "test")
        )
        global_file = folder / GLOBAL_TEST_FILE
        return cls(
            folder=folder,
            description=description,
            artifact=artifact,
            private=private,
            held_out=held_out,
            public_x=_public_set(folder / PUBLIC_FILE, artifact.manifest.input_shape),
            global_test=read_labelled(global_file, artifact.manifest, x="x", y="y")
            if global_file.exists()
            else None,
            store=StudentStore(artifact.manifest, folder / "state"),
            installed=_installed(folder / INSTALLED_FILE, artifact.manifest),
        )

    @classmethod
    def _of_home(cls, home: AgentHome, description: DeviceDescription) -> FleetDevice:
        limit_memory()
        private_store = PrivateStore.open(home)
        try:
            forgotten = private_store.times_forgotten()
            package = load_installed(home, private_store)
            _check_artifact(package.manifest, description, home.folder)
            return cls(
                folder=home.folder,
                description=description,
                artifact=package.artifact,
                private=_stack(learning_examples(private_store, package, "training"), package.manifest),
                held_out=_stack(learning_examples(private_store, package, "held-out"), package.manifest),
                public_x=package.public_x,
                global_test=None,
                store=private_store.students(
                    package.manifest, package.manifest.package_version, read_after=forgotten
                ),
                installed=package.parameters,
                private_store=private_store,
            )
        except BaseException:
            private_store.close()
            raise

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[FleetDevice]:
        """The device, closed afterwards."""
        device = cls.open(folder)
        try:
            yield device
        finally:
            device.close()

    def close(self) -> None:
        """Close what is open on disk."""
        if self.private_store is not None:
            self.private_store.close()

    def perform(self, task: RoundTask, *, stop: Stop | None = None) -> bytes:
        """Do a round: train, keep the student, and summarize it.

        The same round again starts from where it started the first time, and has the same summary. On an
        agent's home the summary is in the privacy ledger, on disk, before this returns.

        Args:
            task: The round's task.
            stop: Asked before each step of training and each chunk of answers; a reason ends the round.

        Returns:
            The encoded summary.

        Raises:
            Interrupted: `stop` gave a reason; the student is as it was.
            PolicyRefused: The policy of the device's owner does not allow the round; nothing was done for it.
            FedstillError: The device cannot do the round; the student is as it was.
        """
        self._check_generation(task)
        policy = self._policy()
        guard = self._guard(policy)
        task = guard.without_weights(task)
        sums = self._sums(policy)
        if sums is not None and (offered := sums.offered(task)) is not None:
            return offered
        if (sent := guard.admit(task)) is not None:
            return sent
        if policy is None:
            self._check_work(task)
            return self._work(task, guard, stop)
        with memory_limited(policy.most_memory_mb):
            task = self._within(task, policy.most_steps)
            return self._work(task, guard, stopping_after(policy.most_seconds, stop))

    def _work(self, task: RoundTask, guard: PolicyGuard, stop: Stop | None) -> bytes:
        """The round that was admitted."""
        with self.store.locked():
            before = None if task.forgets else self.store.before(task.run, task.round)
            personalizer, forward = Personalizer(self.artifact), self._forward(stop)
            base_tables = BaseTableStore(AgentHome(self.folder).answers)
            options = RoundOptions(stop=stop, base_tables=base_tables)
            work = perform_round(
                self.stack(before, run=task.run),
                task,
                personalizer,
                forward,
                self.public_x,
                options=options,
            )
            summary = work.summaries[0]
            if summary is None:
                raise TrainingDiverged(task.training.learning_rate)
            trained = {name: array[0] for name, array in work.parameters.items()}
            try:
                beside = {name: array[0] for name, array in work.control_variates.items()}
                own = OwnStudent(task.run, task.round, trained, beside)
                self.store.save(own, before=before, fleet=fleets_student(task, work))
            except FedstillError:
                # Examples may have been forgotten meanwhile: what was learned from them is not to stay.
                base_tables.forget(self.description.name)
                raise
            told_labels(self.folder).keep(task.run, task.round, table_told(task.soft_targets))
            if task.request.summing is not None:
                sums = self._sums(self._policy())
                assert sums is not None  # the guard lets no plain folder come here
                summary = sums.offer(task, _noised_vector(summary))
            elif task.request.noising is not None:
                numbers = len(_noised_vector(summary))
                summary = guard.release(task, summary, values=numbers)
            if self.private_store is not None:
                self._write_down(task, summary, self.private_store)
        return summary

    def _check_generation(self, task: RoundTask) -> None:
        """Refuse a task of another generation than the package's; a newer release is looked for at once."""
        if task.generation == self.artifact.manifest.generation:
            return
        if self.private_store is not None and task.generation > self.artifact.manifest.generation:
            AgentHome(self.folder).look_for_release()
        raise AnotherGeneration(task, self.artifact.manifest)

    def _sums(self, policy: DevicePolicy | None) -> HomeSums | None:
        """The sums of an agent's home; a plain folder takes part in none."""
        if self.private_store is None or policy is None:
            return None
        return HomeSums(AgentHome(self.folder), self.private_store, policy)

    def _policy(self) -> DevicePolicy | None:
        """The policy of an agent's home; a plain folder has none."""
        return None if self.private_store is None else DevicePolicy.read(self.folder)

    def _guard(self, policy: DevicePolicy | None) -> PolicyGuard:
        manifest = self.artifact.manifest
        size = TaskSize(
            classes=manifest.classes,
            places=math.prod(manifest.label_shape),
            release=manifest.package_version,
        )
        ledger = None if self.private_store is None else self.private_store.ledger
        statement = None if policy is None else read_statement(self.folder)
        return PolicyGuard(policy, ledger, size=size, statement=statement)

    def _within(self, task: RoundTask, most_steps: int) -> RoundTask:
        """The task with no more epochs than a device plans at once, and than it takes steps in a round.

        To refuse the others would tell how many examples the device has.
        """
        left = most_steps - self._check_start(task, most_steps)
        examples, batches, most = self._plan(task)
        epochs = min(task.training.epochs, most, left // max(batches, 1))
        if epochs < task.training.epochs:
            log.info("%d of %d epochs of %d examples fit in", epochs, task.training.epochs, examples)
        personal = task.personal
        if personal is not None:
            room = min(most, left // max(batches, 1) - epochs)
            personal = replace(personal, epochs=min(personal.epochs, room))
        return replace(task, training=replace(task.training, epochs=epochs), personal=personal)

    def _check_work(self, task: RoundTask) -> None:
        """Refuse more steps than a device plans at once, whoever asks for them."""
        self._check_start(task, PLAN_LIMIT)
        examples, _, most = self._plan(task)
        epochs = max(task.training.epochs, 0 if task.personal is None else task.personal.epochs)
        if epochs > most:
            raise DeviceError(
                f"the round asks for {epochs} epochs of {examples} examples; a device plans "
                f"{most} at most at once."
            )

    def _check_start(self, task: RoundTask, most_steps: int) -> int:
        """The steps of the round's start; refuses more than so many, and more than a device plans at once.

        No private example has a part in them: to refuse them tells nothing.
        """
        if task.start is None or task.soft_targets is None:
            return 0
        rows = task.soft_targets.soft_labels.rows
        batches = -(-rows // self.artifact.manifest.step_rows)
        most = min(self._most_epochs(rows, task, public=True), most_steps // max(batches, 1))
        if task.start.epochs > most:
            raise DeviceError(
                f"the round's start asks for {task.start.epochs} epochs of {rows} public rows; a device "
                f"takes {most} at most."
            )
        return task.start.epochs * batches

    def _plan(self, task: RoundTask) -> tuple[int, int, int]:
        """Examples of an epoch, its batches, and the epochs that are planned at once at most."""
        public = task.soft_targets.soft_labels.rows if task.soft_targets is not None else 0
        examples = int(self.private.counts[0]) or public
        batches = -(-examples // task.training.batch_size)
        return examples, batches, self._most_epochs(examples, task, public=public > 0)

    def _most_epochs(self, examples: int, task: RoundTask, *, public: bool) -> int:
        batches = -(-examples // task.training.batch_size)
        values_per_row = 2 + math.prod(self.artifact.manifest.label_shape) + (2 if public else 0)
        return PLAN_LIMIT // max(batches * task.training.batch_size * values_per_row, _EPOCH_COSTS)

    def _forward(self, stop: Stop | None) -> Forward:
        return Forward(self.artifact) if stop is None else Forward(self.artifact, on_chunk=interrupting(stop))

    def _write_down(self, task: RoundTask, summary: bytes, private_store: PrivateStore) -> None:
        """Debit the ledger, and keep what the fleet taught for learning without it."""
        if task.request.kind is not SummaryKind.NONE and task.request.noising is None:
            private_store.ledger.debit(
                _release(
                    task,
                    task.request.kind.value,
                    _released_numbers(summary, task, self.artifact.manifest),
                    summary,
                )
            )
        if task.soft_targets is not None:
            version = self.artifact.manifest.package_version
            private_store.keep_soft_labels(version, task.run, task.round, encode_fleet_labels(task))

    def evaluate(self, task: RoundTask, *, stop: Stop | None = None) -> Evaluation:
        """Count the right answers of the device's own student, or of the task's where that replaces it.

        On an agent's home the counts are in the privacy ledger before this returns. Args and Raises are those
        of `perform`.
        """
        self._check_generation(task)
        policy = self._policy()
        guard = self._guard(policy)
        task = guard.without_weights(task)
        guard.admit_evaluation(task)
        if policy is not None:
            stop = stopping_after(policy.most_seconds, stop)
        own = None if task.forgets else self.store.after(task.run, task.round)
        counts = evaluate(
            replace(self.stack(own), fleet=self.store.fleet()),
            task,
            self._forward(stop),
            personal_test=self.held_out,
            global_test=self.global_test,
            owner_share=self.description.owner_share,
        )
        if self.private_store is not None:
            content = np.array([count[0] for count in vars(counts).values()], "<i8").tobytes()
            self.private_store.ledger.debit(_release(task, "evaluation", len(vars(counts)), content))
        return counts

    def predict(self, x: FloatArray, *, scope: Scope = "owner") -> FloatArray:
        """Class probabilities [n, K], by the device's own student with the device's label prior.

        x are examples as they are given. With scope "everyone" the answers are the fleet's student's alone:
        what the last round started from, else the installed one, else the device's own.
        """
        check_scope(scope)
        own = self.store.latest()
        if own is None:
            raise NoStudent(f"{self.folder}: this device has no student yet; personalize it or run a round.")
        fleet = self.store.fleet() or self.installed or own.parameters
        student, forward = fleet if scope == "everyone" else own.parameters, Forward(self.artifact)
        read = self.artifact.manifest.input_rule.apply(x)
        logits = forward.shared({name: array[None] for name, array in student.items()}, read)
        share = self.description.owner_share
        prior = owners_prior(self.private, self.artifact.manifest, owner_share=share)
        if scope == "owner" and prior is not None:
            logits = logits + prior[:, None]
        return app_answers(self.artifact.manifest.target, logits[0])

    def stack(self, student: OwnStudent | None, *, run: str = "") -> DeviceStack:
        """This device as a stack of one, with `student`; with its control variates for a round of `run`."""
        name = self.description.name
        return DeviceStack.of_one(name, self.private, student, installed=self.installed, run=run)


def told_labels(folder: Path) -> ToldLabels:
    """What the fleet told the device of this folder."""
    return ToldLabelsFile(AgentHome(folder).told)


def _check_artifact(manifest: StudentManifest, description: DeviceDescription, folder: Path) -> None:
    if manifest.family != description.family:
        raise DeviceError(
            f"{folder}: device.json names student family {description.family!r}, "
            f"the artifact is for {manifest.family!r}."
        )
    if manifest.stack_size != 1:
        raise DeviceError(
            f"{folder / 'artifact'}: it trains {manifest.stack_size} devices at a time, as a simulator's "
            "does; a device needs one of stack size 1."
        )


def _stack(examples: StoredExamples, manifest: StudentManifest) -> PrivateStack:
    """The stored examples of this device; they must be what the installed student takes."""
    examples = examples.read_by(manifest)
    x, labels = examples.x, examples.labels
    if not len(examples.ids):
        x = np.zeros((0, *manifest.input_shape), manifest.input_type)
        labels = np.zeros((0, *manifest.label_shape), manifest.target.label_type)
    if x.shape[1:] != manifest.input_shape or labels.shape[1:] != manifest.label_shape:
        raise DeviceError(
            f"the private store's examples have shape {list(x.shape[1:])}, the installed student takes "
            f"{list(manifest.input_shape)}; forget those from before the package was installed."
        )
    if manifest.target.is_single and labels.size and labels.max() >= manifest.classes:
        raise DeviceError(
            f"the private store's examples have classes that the installed student has not: it knows "
            f"{manifest.classes}; forget those from before the package was installed."
        )
    return PrivateStack.of_one(x, labels)


def _release(task: RoundTask, kind: str, values: int, content: bytes) -> Release:
    digest = hashlib.sha256(content).hexdigest()
    return Release(task.run, task.round, kind, values=values, bytes=len(content), digest=digest)


def _released_numbers(summary: bytes, task: RoundTask, manifest: StudentManifest) -> int:
    """How many numbers made from private data a summary holds."""
    classes, places = manifest.classes, math.prod(manifest.label_shape)
    statistics = pb.SoftLabelSummary.FromString(summary).statistics
    soft = statistics.soft_labels
    rows, in_a_row = soft.rows, soft.k + soft.drawn or soft.classes
    if soft.encoding == pb.SOFT_LABEL_ENCODING_LEVELS and task.request.codec is not None:
        # These leave out what the request states.
        rows = len(task.request.public_rows) * places or len(statistics.present_classes)
        if task.request.selection is not None:
            rows = int.from_bytes(statistics.answered, "little").bit_count()
        in_a_row = task.request.codec.kept(classes) or classes
    return (
        rows * in_a_row
        + len(statistics.class_examples)
        + 8 * len(statistics.answered)  # which of the asked rows are answered, a number each
        + len(statistics.features)
        + sum(math.prod(tensor.shape) for tensor in (*statistics.parameters, *statistics.control_variates))
    )


def _installed(file: Path, manifest: StudentManifest) -> Parameters | None:
    if not file.exists():
        return None
    try:
        return decode_parameters(file.read_bytes(), manifest.parameters, field=file.name)
    except OSError as error:
        raise DeviceError(f"{file}: cannot be read: {error.strerror}.") from None


def _noised_vector(summary: bytes) -> IntArray:
    return np.array(pb.SoftLabelSummary.FromString(summary).statistics.noised, np.int64)


def _public_set(file: Path, input_shape: tuple[int, ...]) -> FloatArray | None:
    if not file.exists():
        return None
    return checked_examples(read_npz(file, ("x",))["x"], input_shape=input_shape, file=file, array="x")
