"""Public text as a task of sub-words: which one comes next, by a tokenizer of one's own, or one made here.

Texts stand one after another, each from its beginning to its end as the tokenizer marks them, and are cut
into rows; nothing is filled up. Students of words (gru, ssm, transformer and sizes of them) learn it, and
causal models of Hugging Face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from fedstill_proto.package.subword_texts import SubwordTexts
from fedstill_proto.package.subwords import NEXT_TOKEN
from torch import nn

from fedstill_server.data.examples import Examples
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.tasks import DeviceStep
from fedstill_server.distill.teachers.torch_module import TorchTeacher
from fedstill_server.distill.text_task import TextDistillTask, read_parts
from fedstill_server.hugging_face.opening import open_model
from fedstill_server.hugging_face.reference import HubReference
from fedstill_server.hugging_face.tokenizer import TOKENIZER_FILE, SubwordTokenizer
from fedstill_server.tasks.interface import PackageFiles

MADE_HERE = "train:"
_END, _PAD = "<|endoftext|>", "<pad>"
_FEWEST = 256 + 2  # a byte each, and the special ones


@dataclass(frozen=True, kw_only=True, eq=False)
class NextSubwordDistillTask(TextDistillTask):
    """Next sub-words.

    Attributes:
        tokenizer: What makes the rows.
        tables: Whether students have a table of sub-words of which a device's step sees a part.
    """

    class_name: ClassVar[str] = "sub-words"
    hint: ClassVar[str] = "; a teacher of next sub-words has the student's tokenizer"

    tokenizer: SubwordTokenizer
    tables: bool = True

    def device_step(self) -> DeviceStep:
        step = super().device_step()
        return step if self.tables else DeviceStep(soft_labels=step.soft_labels, k=step.k, rows=step.rows)


def next_subwords(
    name: str, tokenizer: SubwordTokenizer, *, size: int, places: int, tables: bool = True
) -> NextSubwordDistillTask:
    """The task of a text.

    Args:
        name: A .txt file, or a folder of them.
        tokenizer: What makes sub-words of it.
        size: How many students know; the tokenizer's numbers are below it.
        places: The sub-words of a row.
        tables: As in NextSubwordDistillTask.

    Raises:
        DistillError: There is no such text, or too little of it.
    """
    texts = SubwordTexts(tokenizer.content, pad=tokenizer.pad, size=size)
    parts = read_parts(name)
    rows = parts.rows(lambda part: _rows(part, texts, places=places), least=f"{places + 1} sub-words")
    packaged, subwords = tokenizer.packaged(places=places, size=size, answer=NEXT_TOKEN)
    files = PackageFiles(tokenizer=packaged, subwords=subwords)
    return NextSubwordDistillTask(
        name=parts.name,
        classes=size,
        public=rows["public"],
        private=rows["private"],
        validation=rows["validation"],
        test=rows["test"],
        teaching=rows["public"],
        files=files,
        tokenizer=tokenizer,
        tables=tables,
    )


def _rows(part: Sequence[str], texts: SubwordTexts, *, places: int) -> Examples:
    ends = [min(texts.ends)] if texts.ends and texts.begin not in texts.ends else []
    stream = [number for text in part if text.strip() for number in (*texts.numbers(text), *ends)]
    count = max(0, len(stream) - 1) // places
    words = np.array(stream[: count * places + 1], np.int64)
    return Examples(words[:-1].reshape(count, places), words[1:].reshape(count, places))


def tokenizer_at(place: str, task: str) -> SubwordTokenizer:
    """The tokenizer that a person names.

    Args:
        place: A tokenizer.json or a folder with one; or train:2000 for one of so many sub-words that is made
            of the task's public text.
        task: The text.

    Raises:
        DistillError: There is none.
    """
    if place.startswith(MADE_HERE):
        size = place.removeprefix(MADE_HERE)
        if not size.isdecimal() or not _FEWEST <= int(size) <= 1 << 16:
            raise DistillError(f"tokenizer: {place}: give train:{_FEWEST} to train:{1 << 16}")
        return made_tokenizer(read_parts(task).public, size=int(size))
    path = Path(place)
    if path.is_dir():
        found = SubwordTokenizer.of_folder(path)
        if found is None:
            raise DistillError(f"tokenizer: {path} holds no {TOKENIZER_FILE}")
        return found
    try:
        return SubwordTokenizer.of_bytes(path.read_bytes(), where=str(path))
    except OSError as error:
        raise DistillError(f"tokenizer: {path}: cannot be read ({error.strerror})") from None


def made_tokenizer(texts: Sequence[str], *, size: int) -> SubwordTokenizer:
    """Byte pairs of texts (Sennrich et al., 2016, arXiv:1508.07909), over bytes: every text is sub-words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[_END, _PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return SubwordTokenizer.of_bytes(made.to_str().encode(), where="tokenizer", pad_word=_PAD)


def next_subword_teacher(text: str, task: NextSubwordDistillTask) -> TorchTeacher:
    """The teacher at a place such as hf:models/gpt2.

    Raises:
        HubModelError: It cannot be opened.
        DistillError: It has other sub-words than the task, or no trained weights.
    """
    opened = open_model(HubReference.of(text, where="teacher"), answer=NEXT_TOKEN, where="teacher")
    if opened.kind != NEXT_TOKEN or opened.fresh:
        problem = "no trained weights" if opened.fresh else f"answers with {opened.kind}"
        raise DistillError(f"teacher: {text}: {problem}; give a causal model that has learned")
    if opened.tokenizer is not None and not opened.tokenizer.reads_as(task.tokenizer):
        raise DistillError(
            f"teacher: {text}: has another tokenizer than the task; leave --tokenizer out for its own"
        )
    network: nn.Module = opened.network
    return TorchTeacher(network, name=text)
