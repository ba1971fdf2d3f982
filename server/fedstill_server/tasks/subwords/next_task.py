"""The task of next sub-words, for causal models of Hugging Face: rows of sub-words, int64, packed.

An operator's public texts (.txt, a text a line) become rows by the tokenizer of the families. Teacher and
students go on from their models' weights. Of vocabularies as large as theirs, soft labels travel as the 16
likeliest sub-words and 16 draws of all others (fedstill_proto.soft_labels.drawn), where nobody says how.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.subwords import MOST_SUBWORDS, NEXT_TOKEN, Subwords
from fedstill_proto.soft_labels.codec import SoftLabelCodec
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.text.text_files import read_lines

from fedstill_server.config.fleet import FleetConfig, TeacherConfig
from fedstill_server.config.options import option
from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import Examples, drawn_rows, npz_of
from fedstill_server.data.forms import NextSubwordsForm
from fedstill_server.families.family import NEXT_SUBWORDS
from fedstill_server.tasks.interface import FleetFiles, LocalWork, Material, PackageFiles, Task
from fedstill_server.tasks.subwords.task import TOKENIZER_FILE, tokenizer_files

if TYPE_CHECKING:
    from fedstill_server.tasks.subwords.rows import FleetTokenizer
    from fedstill_server.tasks.training import ServerTraining

_MOST_BYTES = 1 << 30


class NextTokenTask(Task):
    """Next sub-words of texts: `classes` are sub-words, and `input_shape` the places of a row."""

    line = "texts, and the sub-word that comes next, for causal models of Hugging Face"
    form = NextSubwordsForm()
    families_of = (NEXT_SUBWORDS,)
    default_method = "next-words"
    own_teacher = False
    usual_codec: ClassVar[SoftLabelCodec | None] = parse_codec("topk16,drawn16")
    places: int = option(32, "Sub-words of a row.", least=2, most=8192)
    public_rows: int = option(256, "Rows of the public texts that devices get.", least=1)
    kept: int = option(
        16, "Sub-words that soft labels name before the first round; as many are drawn.", least=1, most=1024
    )
    hard_weight: float = option(
        0.5,
        "The weight of the rows' own next sub-words, where students learn on the server.",
        least=0,
        most=1,
    )
    tokenizer: str = option(TOKENIZER_FILE, "The file of the tokenizer, in the run's folder.")
    pad: int = option(0, "The number between texts; the tokenizer says it.", least=0)
    size: int = option(0, "How many sub-words there are; the families say it.", least=0, most=MOST_SUBWORDS)
    library: str = option("", "The version of the library tokenizers that read the tokenizer.")

    def training(self, config: FleetConfig) -> ServerTraining:
        # torch takes a second to import
        from fedstill_server.tasks.subwords.next_training import NextSubwordTraining

        kept = min(self.kept, max(1, (config.classes - 1) // 2))
        return NextSubwordTraining(config, kept=kept, drawn=kept, hard_weight=self.hard_weight)

    def default_work(self, *, labelled: bool) -> LocalWork:
        return LocalWork(
            epochs=1, batch_size=4, learning_rate=2e-4, optimizer=Optimizer.ADAMW, soft_weight=0.3
        )

    def default_teacher(self, examples: int, *, made: bool) -> TeacherConfig:
        return TeacherConfig(
            epochs=2,
            student_epochs=2,
            round_epochs=1,
            learning_rate=5e-4,
            student_learning_rate=5e-4,
            batch_size=8,
            round_batch_size=8,
            weight_decay=0.0,
            temperature=1.0,
            input_noise=0.0,
        )

    def read(self, files: FleetFiles) -> Material:
        """A .txt file with a text a line."""
        # transformers takes seconds to import
        from fedstill_server.tasks.subwords.rows import tokenizer_of

        read = tokenizer_of(files.families)
        teaching = self.rows(read, lines_of(files.public), where=files.public)
        public = drawn_rows(teaching, self.public_rows, seed=files.seed)
        task, content = self.made_with(read)
        contents = {self.tokenizer: content, "public.npz": npz_of(public)}
        test = None
        if files.test is not None:
            test = self.rows(read, lines_of(files.test), where=files.test)
            contents["test.npz"] = npz_of(test)
        return Material(
            task=task,
            public=public,
            classes=read.size,
            teacher=self.default_teacher(len(public), made=False),
            files=contents,
            test=test,
            teaching=teaching,
        )

    def rows(self, read: FleetTokenizer, texts: list[str], *, where: Path) -> Examples:
        """The rows of texts.

        Raises:
            ExamplesError: There are fewer sub-words than a row has.
        """
        x, y = read.next_rows(texts, places=self.places)
        if not len(x):
            raise ExamplesError(f"{where}: fewer sub-words than a row of {self.places}; give more text")
        return Examples(x, y)

    def made_with(self, read: FleetTokenizer) -> tuple[NextTokenTask, bytes]:
        """The task with the options that follow from a tokenizer, and tokenizer.json of packages."""
        content, subwords = read.packaged(places=self.places, answer=NEXT_TOKEN)
        task = replace(self, pad=subwords.pad, size=subwords.size, library=subwords.library)
        return task, content

    def package_files(
        self, folder: Path, config: FleetConfig, family: str, parameters: Parameters, test: Examples | None
    ) -> PackageFiles:
        """tokenizer.json, and what its numbers are."""
        described = Subwords(
            places=config.input_shape[0],
            pad=self.pad,
            size=self.size,
            library=self.library,
            answer=NEXT_TOKEN,
        )
        return tokenizer_files(folder / self.tokenizer, described)


def lines_of(file: Path) -> list[str]:
    """The texts of a .txt file, one a line.

    Raises:
        ExamplesError: It cannot be read, or holds none.
    """
    texts = read_lines(file, most_bytes=_MOST_BYTES, error=ExamplesError)
    if not texts:
        raise ExamplesError(f"{file}: holds no text; give one a line")
    return texts
