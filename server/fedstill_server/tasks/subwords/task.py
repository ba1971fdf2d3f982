"""The task of texts with classes, for models of Hugging Face: rows of sub-words, float32.

An operator's table of texts and labels (.csv, .tsv or .parquet) becomes rows by the tokenizer of the
families, which all of them share. Numbers of sub-words are exact in float32, so that private stores, packages
and graphs are those of any other student. tokenizer.json travels in packages: a device makes its own rows of
its owner's texts, and no text ever leaves it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.subwords import CLASSES, MOST_SUBWORDS, Subwords
from fedstill_proto.readers.classes import UNLABELLED, label_array, names_of_labels
from fedstill_proto.readers.errors import DataError
from fedstill_proto.readers.given import GivenExamples, class_numbers, is_table
from fedstill_proto.subwords.tokenizer_check import TOKENIZER_LIMIT_BYTES

from fedstill_server.config.fleet import ConfigError, FleetConfig, TeacherConfig
from fedstill_server.config.options import option
from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import Examples, npz_of
from fedstill_server.data.forms import SubwordsForm
from fedstill_server.families.family import SUBWORDS
from fedstill_server.tasks.interface import FleetFiles, LocalWork, Material, PackageFiles, Task

if TYPE_CHECKING:
    from fedstill_server.tasks.subwords.rows import FleetTokenizer
    from fedstill_server.tasks.training import ServerTraining

TOKENIZER_FILE = "tokenizer.json"


class TextClassTask(Task):
    """Classes of texts, as rows of sub-words."""

    line = "texts, each of one class, for models of Hugging Face"
    form = SubwordsForm(MOST_SUBWORDS)
    families_of = (SUBWORDS,)
    own_teacher = False
    places: int = option(
        0, "Sub-words of a row; 0 is as many as the longest public text has, up to 64.", least=0, most=8192
    )
    tokenizer: str = option(TOKENIZER_FILE, "The file of the tokenizer, in the run's folder.")
    pad: int = option(0, "The number that stands for nothing; the tokenizer says it.", least=0)
    size: int = option(0, "How many sub-words there are; the families say it.", least=0, most=MOST_SUBWORDS)
    library: str = option("", "The version of the library tokenizers that read the tokenizer.")

    def check(self, config: FleetConfig) -> None:
        super().check(config)
        if config.teacher.input_noise != 0:  # numbers of sub-words are names
            raise ConfigError(
                f"teacher.input_noise: {config.teacher.input_noise!r} is not 0, as a fleet of texts needs it"
            )

    def training(self, config: FleetConfig) -> ServerTraining:
        # torch takes a second to import
        from fedstill_server.tasks.subwords.fleet_training import SubwordTraining

        return SubwordTraining(config)

    def default_work(self, *, labelled: bool) -> LocalWork:
        """Few passes of small steps: the students know their language before they are asked."""
        return LocalWork(
            epochs=4,
            batch_size=8,
            learning_rate=2e-3,
            optimizer=Optimizer.ADAMW,
            soft_weight=0.35,
            start_epochs=4,
        )

    def default_teacher(self, examples: int, *, made: bool) -> TeacherConfig:
        epochs = min(40, max(4, 4_000 // max(examples, 1)))
        return TeacherConfig(
            epochs=epochs,
            student_epochs=epochs,
            round_epochs=2,
            learning_rate=2e-3,
            student_learning_rate=2e-3,
            batch_size=16,
            round_batch_size=16,
            temperature=1.0,
            input_noise=0.0,
        )

    def read(self, files: FleetFiles) -> Material:
        """Tables with a column of texts and one of labels, which may be missing."""
        # transformers takes seconds to import
        from fedstill_server.tasks.subwords.rows import given_texts, texts_of, tokenizer_of

        read, reading = tokenizer_of(files.families), files.reading
        tables = {}
        for name, file in (("public", files.public), ("test", files.test)):
            if file is not None and not is_table(file):
                raise ExamplesError(f"{file}: is no table of texts; give a .csv, .tsv or .parquet file")
            if file is not None:
                tables[name] = reading.table(file)
        label = reading.label_column
        places = read.places(texts_of(tables["public"], label=label), self.places)
        given = {
            name: given_texts(table, read.tokenizer, label=label, places=places)
            for name, table in tables.items()
        }
        try:
            examples, names = _numbered(given, classes=files.classes)
        except DataError as error:
            raise ExamplesError(str(error)) from None
        task, content = self.made_with(read, places=places)
        contents = {self.tokenizer: content}
        contents |= {f"{name}.npz": npz_of(part) for name, part in examples.items()}
        return Material(
            task=task,
            public=examples["public"],
            classes=len(names),
            teacher=self.default_teacher(len(examples["public"]), made=False),
            files=contents,
            test=examples.get("test"),
            class_names=names,
        )

    def made_with(self, read: FleetTokenizer, *, places: int) -> tuple[TextClassTask, bytes]:
        """The task with the options that follow from a tokenizer, and tokenizer.json of packages."""
        content, subwords = read.packaged(places=places, answer=CLASSES)
        task = replace(self, places=places, pad=subwords.pad, size=subwords.size, library=subwords.library)
        return task, content

    def package_files(
        self, folder: Path, config: FleetConfig, family: str, parameters: Parameters, test: Examples | None
    ) -> PackageFiles:
        """tokenizer.json, and what its numbers are."""
        return tokenizer_files(
            folder / self.tokenizer,
            Subwords(
                places=config.input_shape[0],
                pad=self.pad,
                size=self.size,
                library=self.library,
                answer=CLASSES,
            ),
        )


def tokenizer_files(path: Path, subwords: Subwords) -> PackageFiles:
    """What packages hold of a fleet's tokenizer.

    Raises:
        ExamplesError: The file is not there, or too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(TOKENIZER_LIMIT_BYTES + 1)
    except OSError as error:
        raise ExamplesError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > TOKENIZER_LIMIT_BYTES:
        raise ExamplesError(f"{path}: larger than {TOKENIZER_LIMIT_BYTES:,d} bytes")
    return PackageFiles(tokenizer=content, subwords=subwords)


def _numbered(
    given: dict[str, GivenExamples], *, classes: int | None
) -> tuple[dict[str, Examples], tuple[str, ...]]:
    """The examples of each part with class numbers, and what classes are called."""
    labelled = [part for part in given.values() if part.y is not None]
    if not labelled:
        raise DataError(f"{given['public'].where}: holds no labels; name their column: --label COLUMN")
    labels = [label_array(part.y, where=part.labels) for part in labelled]
    names = names_of_labels(labels, where=given["public"].labels, classes=classes)
    examples: dict[str, Examples] = {}
    for name, part in given.items():
        x: npt.NDArray[np.float32] = part.x
        y = None if part.y is None else class_numbers(part, names, unlabelled=name == "public")
        examples[name] = Examples(x, None if y is None or bool(np.all(y == UNLABELLED)) else y)
    return examples, names.names or tuple(str(number) for number in range(names.classes))
