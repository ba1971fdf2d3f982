"""The task of a keyboard: which word comes next.

An operator's public texts become a word list, and rows of its words. The teacher and the first students learn
all of them, as a whole keyboard is made (keyboard.py) or, to try a fleet out, one small network each; devices
get a part of the rows as the public set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fedstill_proto.arrays import Parameters
from fedstill_proto.errors import InvalidValue
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.text.vocabulary import WordList, build_word_list

from fedstill_server.config.fleet import ConfigError, FleetConfig, TeacherConfig
from fedstill_server.config.options import option
from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import Examples, drawn_rows, npz_of
from fedstill_server.data.forms import WORDS
from fedstill_server.families import TEXT
from fedstill_server.tasks.interface import (
    FirstStudents,
    FleetFiles,
    LocalWork,
    Material,
    PackageFiles,
    Task,
)
from fedstill_server.tasks.text.vocabulary import read_texts, read_word_list, text_examples

if TYPE_CHECKING:
    from fedstill_server.tasks.text.keyboard import KeyboardPlan
    from fedstill_server.tasks.training import ServerTraining

# One small network, which sees the texts a few times.
_QUICK_TEACHER = TeacherConfig(
    epochs=4,
    student_epochs=4,
    learning_rate=2e-3,
    student_learning_rate=2e-3,
    temperature=1.0,
    weight_decay=1e-3,
)
# Of a whole keyboard, which has learned the public texts: rounds change teacher and students gently.
_KEYBOARD_TEACHER = TeacherConfig(
    learning_rate=2e-4, student_learning_rate=2e-4, weight_decay=0.0, input_noise=0.0, temperature=1.0
)


class TextTask(Task):
    """Next words: `classes` are words, and `input_shape` the places of a row."""

    line = "texts, and the word that comes next"
    form = WORDS
    families_of = (TEXT,)
    default_method = "next-words"
    own_teacher = False
    vocabulary: str = option("vocabulary.json", "The file of the words of all rows, in the run's folder.")
    words: int = option(10_000, "Entries of the word list, at most.", least=2, most=1_000_000)
    places: int = option(16, "Words that a student sees.", least=2, most=512)
    public_rows: int = option(512, "Rows of the public texts that devices get.", least=1)
    step_vocabulary: int = option(600, "Words that a device's step of training sees.", least=2)
    quick: bool = option(False, "One small network as the teacher, to try a fleet out.")
    teacher_width: int = option(128, "The width of a word in the teacher.", least=1, most=4096)
    teacher_state_width: int = option(
        0, "0: as wide as a word where quick, and three times as wide otherwise.", least=0, most=4096
    )
    teacher_networks: int = option(2, "That are the teacher's parts, unless quick.", least=1, most=64)
    teacher_epochs: int = option(10, "Passes of its networks over the public texts, unless quick.", least=0)
    student_epochs: int = option(
        20, "Passes of students over the teacher's predictions, unless quick.", least=0
    )
    kept: int = option(
        16, "Next words that a quick teacher's soft labels name before the first round.", least=1, most=1024
    )
    hard_weight: float = option(
        0.5, "The weight of the rows' own next words, where students learn on the server.", least=0, most=1
    )

    @property
    def state_width(self) -> int:
        """The width of the teacher's state."""
        return self.teacher_state_width or self.teacher_width * (1 if self.quick else 3)

    def check(self, config: FleetConfig) -> None:
        super().check(config)
        if len(config.input_shape) != 1:
            raise ConfigError(f"input_shape: {config.input_shape!r} is not [places], the words of a row")
        if self.step_vocabulary > config.classes:
            raise ConfigError(
                f"task.step_vocabulary: {self.step_vocabulary} is not at most the {config.classes} words "
                "there are"
            )

    def training(self, config: FleetConfig) -> ServerTraining:
        from fedstill_server.tasks.text.fleet_training import TextTraining  # torch takes a second to import

        return TextTraining(
            config,
            width=self.teacher_width,
            state_width=self.state_width,
            kept=self.kept,
            hard_weight=self.hard_weight,
        )

    def default_work(self, *, labelled: bool) -> LocalWork:
        # Of 2e-4, twenty rounds learn a person's few words by heart.
        return LocalWork(
            epochs=1, batch_size=8, learning_rate=5e-5, optimizer=Optimizer.ADAMW, soft_weight=0.3
        )

    def plain_work(self, *, labelled: bool) -> LocalWork:
        return LocalWork(epochs=1, batch_size=16, learning_rate=0.5, optimizer=Optimizer.SGD, soft_weight=0.3)

    def default_teacher(self, examples: int, *, made: bool) -> TeacherConfig:
        return _KEYBOARD_TEACHER if made else _QUICK_TEACHER

    def step_words(self, config: FleetConfig) -> int:
        return self.step_vocabulary

    def read(self, files: FleetFiles) -> Material:
        """A file with a text a line, or a folder of .txt files."""
        texts = read_texts(files.public)
        try:
            words = build_word_list(texts, size=self.words)
        except InvalidValue as error:
            raise ExamplesError(f"{files.public}: {error}") from None
        teaching = self._rows(texts, words, files.public, more="; give more text")
        public = drawn_rows(teaching, self.public_rows, seed=files.seed)
        contents = {
            "vocabulary.json": words.to_json(),
            "public.npz": npz_of(public),
        }
        test = None
        if files.test is not None:
            test = self._rows(read_texts(files.test), words, files.test)
            contents["test.npz"] = npz_of(test)
        plan = self.keyboard_plan(files.families, seed=files.seed)
        task = replace(
            self,
            step_vocabulary=min(self.step_vocabulary, len(words)),
            teacher_state_width=self.state_width,
        )
        return Material(
            task=task,
            public=public,
            classes=len(words),
            teacher=self.default_teacher(len(teaching), made=not self.quick),
            files=contents,
            test=test,
            teaching=teaching,
            start=None if self.quick else lambda: _first_students(texts, plan, files),
        )

    def keyboard_plan(self, families: tuple[str, ...], *, seed: int) -> KeyboardPlan:
        """How a whole keyboard is made of public texts."""
        from fedstill_server.tasks.text.keyboard import KeyboardPlan

        usual = KeyboardPlan()
        return KeyboardPlan(
            families=families,
            words=self.words,
            networks=self.teacher_networks,
            width=self.teacher_width,
            state_width=self.state_width,
            teaching=replace(usual.teaching, epochs=self.teacher_epochs),
            distilling=replace(usual.distilling, epochs=self.student_epochs),
            seed=seed,
        )

    def package_files(
        self, folder: Path, config: FleetConfig, family: str, parameters: Parameters, test: Examples | None
    ) -> PackageFiles:
        return PackageFiles(vocabulary=read_word_list(folder / self.vocabulary, words=config.classes))

    def stranger(self, folder: Path, config: FleetConfig, package: StudentPackage) -> str:
        own = WordList.from_json(read_word_list(folder / self.vocabulary, words=config.classes))
        if package.vocabulary is None or WordList.from_json(package.vocabulary) != own:
            return "its words are not the fleet's; both need the same vocabulary.json"
        return ""

    def _rows(self, texts: Sequence[str], words: WordList, path: Path, *, more: str = "") -> Examples:
        rows = text_examples(texts, words, places=self.places)
        if len(rows) == 0:
            raise ExamplesError(f"{path}: fewer words than a row of {self.places} and the next{more}.")
        return rows


def _first_students(texts: Sequence[str], plan: KeyboardPlan, files: FleetFiles) -> FirstStudents:
    """Students of the whole teacher; in the rounds its first network stands for it, and goes on learning."""
    from fedstill_server.tasks.text.keyboard import make_keyboard
    from fedstill_server.training.networks import parameters_of

    folder = files.folder / "server" / "keyboard"
    made = make_keyboard(texts, plan, folder, on_progress=files.on_progress)
    return FirstStudents(teacher=parameters_of(made.teacher.networks[0]), students=made.students)
