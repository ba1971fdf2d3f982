"""The task of an assistant: what utterances mean, in rows of the numbers of hashed n-grams.

An operator's table of utterances (text,label) becomes rows and the names of intents. Where some have no
label, a sentence model learns the others and labels them: teacher and students learn what it thinks of all.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.errors import WireError
from fedstill_proto.messages import Optimizer
from fedstill_proto.text.intents import FILE_LIMIT_BYTES, IntentSchema

from fedstill_server.config.fleet import ConfigError, FleetConfig, TeacherConfig
from fedstill_server.config.options import option
from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import Examples, drawn_rows, npz_of
from fedstill_server.data.forms import NGRAMS
from fedstill_server.families import UTTERANCES
from fedstill_server.tasks.interface import (
    FirstStudents,
    FleetFiles,
    LocalWork,
    Material,
    PackageFiles,
    Task,
)
from fedstill_server.tasks.utterances.slots.fleet_files import made_slot_files, with_slot_files

if TYPE_CHECKING:
    from fedstill_server.tasks.training import ServerTraining
    from fedstill_server.tasks.utterances.tables import FleetUtterances

INTENTS_FILE = "intents.json"
OUT_OF_SCOPE_FILE = "out-of-scope.npz"
"""Utterances that ask for nothing, and that nobody learned."""
_TEACHER_FOLDER = "sentence-teacher"
_PUBLIC_NOTHING = 0.25  # of the public set of devices, what asks for nothing


class UtteranceTask(Task):
    """Intents of utterances."""

    line = "utterances, and the intent of each"
    form = NGRAMS
    families_of = (UTTERANCES,)
    own_teacher = False
    public_rows: int = option(512, "Public utterances that devices get.", least=1)

    def check(self, config: FleetConfig) -> None:
        super().check(config)
        if config.teacher.input_noise != 0:  # numbers of n-grams are names
            raise ConfigError(
                f"teacher.input_noise: {config.teacher.input_noise!r} is not 0, as a fleet of utterances "
                "needs it"
            )

    def training(self, config: FleetConfig) -> ServerTraining:
        # torch takes a second to import
        from fedstill_server.tasks.utterances.fleet_training import UtteranceTraining

        return UtteranceTraining(config)

    def default_work(self, *, labelled: bool) -> LocalWork:
        # Of 0.1, students that a sentence model taught forget more in ten rounds than they learn.
        # And installed students know more than the public set: a long start on that alone would undo it.
        return LocalWork(
            epochs=5,
            batch_size=16,
            learning_rate=0.03,
            optimizer=Optimizer.MOMENTUM,
            soft_weight=0.35,
            start_epochs=10,
        )

    def default_teacher(self, examples: int, *, made: bool) -> TeacherConfig:
        """Few utterances are seen more often; rounds change gently what was made of many more."""
        epochs = min(100, max(20, 160_000 // max(examples, 1)))
        usual = TeacherConfig(epochs=epochs, student_epochs=epochs, temperature=1.0, input_noise=0.0)
        return replace(usual, student_learning_rate=1e-3, weight_decay=0.0) if made else usual

    def read(self, files: FleetFiles) -> Material:
        """Tables of utterances: .csv files with the columns text and label."""
        # torch and scipy take their time to import.
        from fedstill_server.tasks.utterances.pipeline import AssistantPlan
        from fedstill_server.tasks.utterances.students import IntentPlan
        from fedstill_server.tasks.utterances.tables import read_fleet_utterances
        from fedstill_server.tasks.utterances.teacher import TeacherPlan

        read = read_fleet_utterances(
            files.public,
            files.test,
            cache=files.folder / "server" / _TEACHER_FOLDER,
            plan=AssistantPlan(
                families=files.families,
                teacher=TeacherPlan(seed=files.seed),
                distilling=IntentPlan(seed=files.seed),
                hidden=max((files.teacher or TeacherConfig()).hidden, default=1),
            ),
            on_progress=files.on_progress,
        )
        public, made = _public_rows(read, self.public_rows, seed=files.seed), read.made
        contents = {
            INTENTS_FILE: read.schema.to_json(),
            OUT_OF_SCOPE_FILE: npz_of(Examples(read.unasked)),
            "public.npz": npz_of(public),
        }
        if read.test is not None:
            contents["test.npz"] = npz_of(read.test)
        contents |= made_slot_files(files.public, seed=files.seed, on_progress=files.on_progress)
        start = None
        if made is not None:
            first = FirstStudents(teacher=made.teacher, students=made.students)
            start = lambda: first  # noqa: E731
        return Material(
            task=self,
            public=public,
            classes=len(read.schema.names),
            teacher=self.default_teacher(len(read.teaching), made=made is not None),
            files=contents,
            test=read.test,
            teaching=read.teaching,
            start=start,
        )

    def package_files(
        self, folder: Path, config: FleetConfig, family: str, parameters: Parameters, test: Examples | None
    ) -> PackageFiles:
        """intents.json, and the tagger of slots where the fleet has one."""
        return with_slot_files(self._intent_files(folder, config, family, parameters, test), folder)

    def _intent_files(
        self, folder: Path, config: FleetConfig, family: str, parameters: Parameters, test: Examples | None
    ) -> PackageFiles:
        """intents.json, where the fleet has one; temperature and threshold are fitted to the test set, and to
        what asks for nothing, of which alone without a test set.
        """
        path = folder / INTENTS_FILE
        if not path.is_file():
            return PackageFiles()
        try:
            content = path.read_bytes()[: FILE_LIMIT_BYTES + 1]
            schema = IntentSchema.from_json(content, classes=config.classes, places=config.input_shape[0])
        except OSError as error:
            raise ExamplesError(f"{path}: cannot be read: {error.strerror}") from None
        except WireError as error:
            raise ExamplesError(f"{path}: {error}") from None
        unasked = _unasked(folder, schema)
        if unasked is None and (test is None or test.y is None):
            return PackageFiles(intents=content)
        # torch and scipy take their time to import.
        from fedstill_server.tasks.utterances.confidence import confidence_of_nothing, fitted_confidence
        from fedstill_server.training.networks import logits_of

        student = self.training(config).student(family, parameters)
        foreign = None if unasked is None else logits_of(student, unasked)
        if test is not None and test.y is not None:
            fitted = fitted_confidence(
                logits_of(student, test.x), test.y, nothing=schema.nothing, unasked=foreign
            )
        else:
            assert foreign is not None
            fitted = confidence_of_nothing(foreign, nothing=schema.nothing)
        sure = replace(schema, temperature=fitted.temperature, threshold=fitted.threshold)
        return PackageFiles(intents=sure.to_json())


def _public_rows(read: FleetUtterances, count: int, *, seed: int) -> Examples:
    """Rows for devices: of those that ask for something, and a quarter of those that ask for nothing."""
    labels = read.teaching.y
    assert labels is not None
    nothing = labels == read.schema.nothing
    few = min(int(nothing.sum()), max(1, int(count * _PUBLIC_NOTHING)))
    parts = [
        drawn_rows(Examples(read.teaching.x[rows], labels[rows]), most, seed=seed)
        for rows, most in ((~nothing, count - few), (nothing, few))
    ]
    return Examples(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts if part.y is not None]),
    )


def _unasked(folder: Path, schema: IntentSchema) -> FloatArray | None:
    """The rows that ask for nothing; None for a fleet that was made before there were any."""
    path = folder / OUT_OF_SCOPE_FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            x = np.asarray(stored["x"], np.float32)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ExamplesError(f"{path}: cannot be read: {error}") from None
    if x.ndim != 2 or x.shape[1] != schema.hashing.places:
        raise ExamplesError(f"{path}: x has shape {list(x.shape)}; rows have {schema.hashing.places} places")
    return x if len(x) else None
