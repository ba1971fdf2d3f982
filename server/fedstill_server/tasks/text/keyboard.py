"""Makes a keyboard of public texts: its word list, a teacher, and the students that devices start from.

Everything is kept under a digest of all that decides it: what was made once is read again, by whoever asks
for the same, and what was killed goes on from the last epoch.

    <folder>/<digest of texts and teacher>/vocabulary.json
                                           teacher-<n>.safetensors, weights.safetensors
                                           soft_words-<k>.safetensors   the likeliest next words of the texts
                                           sampled_words-<k>.safetensors   those that students are taught
                                           student-<family>-<digest of its distilling>.safetensors
    <folder>/<digest of texts>/alone-<family>-<digest of its training>.safetensors

A student can learn without a teacher, from the texts alone: that is there in a minute, and mixed with counts
of the same texts it is worth nearly as much, where there is little text (docs/keyboard.md has figures).
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.numpy
import torch
from fedstill_proto.arrays import Parameters
from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.system.files import SHARED, replace_file
from fedstill_proto.text.vocabulary import WordList, build_word_list

from fedstill_server.families import build_student
from fedstill_server.families.language import GatedRecurrentNetwork
from fedstill_server.randomness import derived_seed
from fedstill_server.tasks.interface import Progress, untold
from fedstill_server.tasks.text.ngrams import KneserNeyTrigrams
from fedstill_server.tasks.text.teacher import TextTeacher, shared_by_pairs, weighed_teacher
from fedstill_server.tasks.text.training import SoftWords, TextPlan, start_from_frequencies, train_text
from fedstill_server.training.array_cache import load_cached, load_cached_parameters
from fedstill_server.training.networks import load_parameters, one_deterministic_thread, parameters_of

_VERSION = 2  # raised when the same plan would make another teacher
_TAUGHT = "sampled words, pairs"  # changed when the same plan would make other students of that teacher
_ALONE = "from frequencies"  # ... of the texts alone

_Any = TypeVar("_Any")


class KeyboardError(FedstillError):
    """A keyboard cannot be made of these texts, or what was kept of it is damaged."""


@dataclass(frozen=True, kw_only=True)
class KeyboardPlan:
    """What is made of public texts.

    One text in `held_out_every` weighs the teacher's parts against each other, and is learned by none.
    """

    families: tuple[str, ...] = ("gru-80-224", "gru-24-96")
    words: int = 10_000  # of the list, at most
    networks: int = 2
    width: int = 128
    state_width: int = 384
    teaching: TextPlan = field(default_factory=lambda: TextPlan(epochs=10, output_dropout=0.5))
    kept: int = 32  # next words that a soft label names
    distilling: TextPlan = field(
        default_factory=lambda: TextPlan(epochs=20, output_dropout=0.3, input_dropout=0.2, soft_weight=0.7)
    )
    alone: TextPlan = field(  # of students without a teacher
        default_factory=lambda: TextPlan(epochs=6, batch_size=16, output_dropout=0.3, input_dropout=0.2)
    )
    held_out_every: int = 25
    apart: bool = False  # students do not learn the held out texts either
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("networks", "width", "state_width", "kept"):
            if getattr(self, name) < 1:
                raise InvalidValue(name, f"{getattr(self, name)}; give 1 or more")
        if self.held_out_every < 2:
            raise InvalidValue("held_out_every", f"{self.held_out_every}; give 2 or more")


@dataclass(frozen=True, eq=False)
class Keyboard:
    """What a fleet of keyboards starts with."""

    words: WordList
    teacher: TextTeacher
    students: dict[str, Parameters]
    texts: Sequence[Sequence[int]]  # those that have words, in numbers
    soft_words: SoftWords  # of these texts


def make_keyboard(
    texts: Sequence[str],
    plan: KeyboardPlan,
    folder: Path,
    *,
    words: WordList | None = None,
    on_progress: Progress = untold,
) -> Keyboard:
    """The keyboard of a plan, made of public texts or read where it was made before.

    words: the list of words; without, one is made of the texts.
    """
    words = words or build_word_list(texts, size=plan.words)
    encoded = _encoded(texts, words, plan)
    digest = _digest_of_teacher(plan, words, encoded)
    making = _Making(folder / digest, digest, plan, words, on_progress)
    making.folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(making.folder, on_progress), one_deterministic_thread():
        replace_file(making.folder / "vocabulary.json", words.to_json(), mode=SHARED)
        teacher = making.teacher(encoded)
        soft = making.soft_words(teacher, encoded)
        taught = making.learned(encoded) if plan.apart else encoded
        students = {family: making.student(family, teacher, taught) for family in plan.families}
    return Keyboard(words, teacher, students, encoded, soft)


def make_students(
    texts: Sequence[str],
    plan: KeyboardPlan,
    folder: Path,
    *,
    words: WordList,
    repeats: Sequence[int] = (),
    on_progress: Progress = untold,
) -> dict[str, Parameters]:
    """The students of a plan without a teacher, who learn all texts but those held out.

    repeats: how often an epoch has each text; without, once.
    """
    often = dict(zip(texts, repeats, strict=True)) if repeats else {}
    encoded = _encoded(texts, words, plan)
    weighed = [often.get(text, 1) for text in texts if words.encode(text)] if often else [1] * len(encoded)
    digest = _digest_of(
        torch.__version__, _digest_of_texts(words, encoded), weighed, plan.held_out_every, plan.seed
    )
    making = _Making(folder / digest, digest, plan, words, on_progress)
    making.folder.mkdir(parents=True, exist_ok=True)
    learned = [
        text
        for text, times in zip(making.learned(encoded), making.learned(weighed), strict=True)
        for _ in range(times)
    ]
    with _alone_in(making.folder, on_progress), one_deterministic_thread():
        return {family: making.student_alone(family, learned) for family in plan.families}


def held_out_texts(texts: Sequence[str], words: WordList, plan: KeyboardPlan) -> list[str]:
    """Those that no student without a teacher has learned; with one, if the plan says that they are apart."""
    return [text for text in texts if words.encode(text)][:: plan.held_out_every]


def _encoded(texts: Sequence[str], words: WordList, plan: KeyboardPlan) -> list[list[int]]:
    encoded = [numbers for text in texts if (numbers := words.encode(text))]
    if len(encoded) < plan.held_out_every:
        raise KeyboardError(
            f"{len(encoded)} public texts with words in them; give {plan.held_out_every} or more"
        )
    return encoded


@contextmanager
def _alone_in(folder: Path, on_progress: Progress) -> Iterator[None]:
    """Wait for another process that makes the same keyboard; then it is there to be read."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress("waiting for another process that makes this keyboard", 0, 1)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class _Making:
    """The steps, each of which reads what it has made before."""

    folder: Path
    digest: str
    plan: KeyboardPlan
    words: WordList
    on_progress: Progress

    def learned(self, texts: Sequence[_Any]) -> list[_Any]:
        """Without those held out."""
        return [text for number, text in enumerate(texts) if number % self.plan.held_out_every]

    def teacher(self, texts: Sequence[Sequence[int]]) -> TextTeacher:
        held_out, learned = texts[:: self.plan.held_out_every], self.learned(texts)
        networks = [self._network(number, learned) for number in range(self.plan.networks)]
        trigrams = KneserNeyTrigrams(learned, words=len(self.words))
        path = self.folder / "weights.safetensors"
        if path.exists():
            return TextTeacher(tuple(networks), trigrams, load_cached(path, error=KeyboardError)["weights"])
        teacher = weighed_teacher(networks, trigrams, held_out)
        _write(path, {"weights": teacher.weights})
        return teacher

    def soft_words(self, teacher: TextTeacher, texts: Sequence[Sequence[int]]) -> SoftWords:
        path = self.folder / f"soft_words-{self.plan.kept}.safetensors"
        if not path.exists():
            told = functools.partial(self.on_progress, "soft labels")
            made = teacher.soft_words(texts, k=min(self.plan.kept, len(self.words) - 1), on_fold=told)
            _write(path, {"named": made.named.astype(np.int32), "chances": made.chances})
        kept = load_cached(path, error=KeyboardError)
        return SoftWords(kept["named"], kept["chances"])

    def sampled_words(self, teacher: TextTeacher, texts: Sequence[Sequence[int]]) -> SoftWords:
        """What students are taught: on average all that the teacher says."""
        path = self.folder / f"sampled_words-{self.plan.kept}{'-apart' * self.plan.apart}.safetensors"
        if not path.exists():
            told = functools.partial(self.on_progress, "sampled words")
            kept, seed = min(self.plan.kept, len(self.words) - 1), derived_seed(self.plan.seed, 0, "sampled")
            made = teacher.sampled_words(texts, k=kept, seed=seed, on_fold=told)
            _write(path, {"named": made.named.astype(np.int32), "chances": made.chances})
        found = load_cached(path, error=KeyboardError)
        return SoftWords(found["named"], found["chances"], shared_by_pairs(teacher.trigrams, texts))

    def student(self, family: str, teacher: TextTeacher, texts: Sequence[Sequence[int]]) -> Parameters:
        taught = _digest_of(asdict(self.plan.distilling), self.plan.kept, self.plan.apart, _TAUGHT)
        return self._trained(
            f"student-{family}-{taught}",
            f"student {family}, taught",
            self._new_student(family),
            texts,
            self.plan.distilling,
            lambda: self.sampled_words(teacher, texts),
        )

    def student_alone(self, family: str, texts: Sequence[Sequence[int]]) -> Parameters:
        name = f"alone-{family}-{_digest_of(asdict(self.plan.alone), _ALONE)}"
        shown = f"student {family}, of texts alone"
        student = start_from_frequencies(self._new_student(family), texts)
        return self._trained(name, shown, student, texts, self.plan.alone)

    def _new_student(self, family: str) -> GatedRecurrentNetwork:
        student = build_student(family, (1,), len(self.words), seed=derived_seed(self.plan.seed, 0, family))
        if not isinstance(student, GatedRecurrentNetwork):
            raise KeyboardError(
                f"families: {family!r} is not recurrent; a keyboard's are gru, and sizes such as gru-80-224"
            )
        return student

    def _network(self, number: int, texts: Sequence[Sequence[int]]) -> GatedRecurrentNetwork:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.plan.seed, number, "teacher"))
            network = GatedRecurrentNetwork(
                len(self.words), width=self.plan.width, state_width=self.plan.state_width
            )
        name, shown = f"teacher-{number}", f"teacher's network {number + 1} of {self.plan.networks}"
        load_parameters(network, self._trained(name, shown, network, texts, self.plan.teaching))
        return network.eval()

    def _trained(
        self,
        name: str,
        shown: str,
        network: GatedRecurrentNetwork,
        texts: Sequence[Sequence[int]],
        plan: TextPlan,
        soft: Callable[[], SoftWords | None] = lambda: None,
    ) -> Parameters:
        path, checkpoint = self.folder / f"{name}.safetensors", self.folder / f"{name}.checkpoint"
        if not path.exists():
            train_text(
                network,
                texts,
                plan,
                seed=derived_seed(self.plan.seed, 0, name),
                soft=soft(),
                checkpoint=checkpoint,
                fingerprint=f"{self.digest}/{name}",
                on_step=lambda done, steps, loss: self.on_progress(shown, done, steps),
            )
            _write(path, parameters_of(network))
            checkpoint.unlink(missing_ok=True)
        return load_cached_parameters(path, network, name=name, error=KeyboardError)


def _digest_of_texts(words: WordList, texts: Iterable[Sequence[int]]) -> str:
    of_texts = hashlib.sha256(words.to_json())
    for text in texts:
        of_texts.update(np.array([len(text), *text], "<i4").tobytes())
    return of_texts.hexdigest()


def _digest_of_teacher(plan: KeyboardPlan, words: WordList, texts: Iterable[Sequence[int]]) -> str:
    decides = ("networks", "width", "state_width", "held_out_every", "seed")
    return _digest_of(
        torch.__version__,
        _digest_of_texts(words, texts),
        asdict(plan.teaching),
        {name: getattr(plan, name) for name in decides},
    )


def _digest_of(*parts: Any) -> str:
    return hashlib.sha256(json.dumps([_VERSION, *parts], sort_keys=True).encode()).hexdigest()[:16]


def _write(path: Path, arrays: dict[str, Any]) -> None:
    replace_file(path, safetensors.numpy.save(arrays), mode=SHARED)
