"""The task of a keyboard: which word comes next.

An operator's public texts, in one language or several, become a word list, a lexicon, and rows of the list's
words. The first students learn all of them: from the texts alone, which takes a minute; from a whole
keyboard's teacher (keyboard.py), where the minutes allow it; or, to try a fleet out, from one small network.
Devices get a part of the rows as the public set.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fedstill_proto.arrays import Parameters
from fedstill_proto.errors import InvalidValue
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.text.lexicon import DICTIONARY_LIMIT
from fedstill_proto.text.vocabulary import WordList

from fedstill_server.config.fleet import ConfigError, FleetConfig, TeacherConfig
from fedstill_server.config.options import option
from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import Examples, drawn_rows, npz_of
from fedstill_server.data.forms import WORDS
from fedstill_server.families import TEXT
from fedstill_server.families.sizes import text_widths_of
from fedstill_server.tasks.interface import (
    FirstStudents,
    FleetFiles,
    LocalWork,
    Material,
    PackageFiles,
    Task,
)
from fedstill_server.tasks.text.languages.detection import detected_language, frequency_language
from fedstill_server.tasks.text.languages.mixes import (
    LEXICON_FILE,
    MIXES_FILE,
    lexicon_of_family,
    mixes_to_json,
)
from fedstill_server.tasks.text.languages.public_texts import (
    LEAST_WORDS,
    LanguageTexts,
    read_public_texts,
)
from fedstill_server.tasks.text.languages.word_list import word_list_of
from fedstill_server.tasks.text.lexicon import LexiconPlan, build_lexicon, general_frequencies
from fedstill_server.tasks.text.vocabulary import read_word_list, text_examples

if TYPE_CHECKING:
    from fedstill_server.tasks.text.keyboard import KeyboardPlan
    from fedstill_server.tasks.text.languages.budget import KeyboardChoice
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

_KNOWN_FREQUENCY = 1e-7  # from which on a word that a public text says once is no mistake
_QUICK_WORDS = 10_000
_COUNTS_OF_A_LANGUAGE = 150_000  # pairs, and triples, from which on those seen once are left out
_FURTHER_LANGUAGE = 0.1  # of a dictionary: a key press takes longer with each word
_MOST_REPEATS = 4  # of a small language's text in an epoch


class TextTask(Task):
    """Next words: `classes` are words, and `input_shape` the places of a row."""

    line = "texts, and the word that comes next"
    form = WORDS
    families_of = (TEXT,)
    default_method = "next-words"
    own_teacher = False
    vocabulary: str = option("vocabulary.json", "The file of the words of all rows, in the run's folder.")
    words: int = option(20_000, "Entries of the word list, for each language.", least=2, most=65_536)
    dictionary: int = option(
        30_000,
        "Words of the lexicon that the list lacks, of one language; each further one adds a tenth.",
        least=0,
        most=100_000,
    )
    language: str = option("", "Of texts whose file names do not say it; empty: told by their words.")
    least_words: int = option(LEAST_WORDS, "Words that a language has, unless quick.", least=0)
    minutes: float = option(5.0, "That making the students may take, about, unless quick.", above=0)
    taught: bool = option(True, "Whether students had a teacher; without one the first stands for it.")
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

        widths = self.teacher_width, self.state_width
        if not self.taught:
            widths = text_widths_of(config.families[0]) or widths
        return TextTraining(
            config, width=widths[0], state_width=widths[1], kept=self.kept, hard_weight=self.hard_weight
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

    def begins_anew(self, before: Task) -> bool:
        return isinstance(before, TextTask) and (self.quick, self.taught) != (before.quick, before.taught)

    def read(self, files: FleetFiles) -> Material:
        """A file with a text a line, a folder of .txt files, or one of languages (public_texts.py)."""
        notices: dict[str, None] = {}  # each once, in order
        told = functools.partial(_note, notices)
        files.on_progress("reading the public texts", 0, 1)
        languages = self._languages(files.public, told)
        words = self._word_list(languages, files.public)
        texts = [text for one in languages for text in one.texts]
        teaching = self._rows(texts, words, files.public, more="; give more text")
        public = drawn_rows(teaching, self.public_rows, seed=files.seed)
        files.on_progress("counting words", 0, 1)
        plan = self.lexicon_plan(languages)
        contents = {
            "vocabulary.json": words.to_json(),
            "public.npz": npz_of(public),
            LEXICON_FILE: build_lexicon(texts, words, plan, on_notice=told).to_bytes(),
            MIXES_FILE: mixes_to_json({}),
        }
        test = None
        if files.test is not None:
            tests = [text for one in read_public_texts(files.test, on_notice=told) for text in one.texts]
            test = self._rows(tests, words, files.test)
            contents["test.npz"] = npz_of(test)
        choice = None if self.quick else self._choice(languages, words, files)
        if choice is not None and not choice.taught:
            told(
                f"students learn from the texts alone, about {choice.minutes:.1f} minutes; to have a teacher "
                f"teach them, prepare with --minutes {math.ceil(choice.taught_minutes)}, now or later"
            )
        task = replace(
            self,
            step_vocabulary=min(self.step_vocabulary, len(words)),
            teacher_state_width=self.state_width,
            taught=choice is None or choice.taught,
        )
        return Material(
            task=task,
            public=public,
            classes=len(words),
            teacher=self.default_teacher(len(teaching), made=not self.quick),
            files=contents,
            test=test,
            teaching=teaching,
            start=None if choice is None else lambda: _first_students(languages, words, plan, choice, files),
            notices=tuple(notices),
        )

    def lexicon_plan(self, languages: Sequence[LanguageTexts]) -> LexiconPlan:
        """What the lexicon of these languages holds: a dictionary of each."""
        codes = dict.fromkeys(frequency_language(one.language) for one in languages if one.language)
        dictionary = round(self.dictionary * (1 + _FURTHER_LANGUAGE * (len(languages) - 1)))
        return LexiconPlan(
            languages=tuple(codes),
            dictionary=min(dictionary, DICTIONARY_LIMIT),
            most_counts=_COUNTS_OF_A_LANGUAGE * len(languages),
        )

    def _languages(self, public: Path, told: Callable[[str], None]) -> tuple[LanguageTexts, ...]:
        languages = read_public_texts(
            public,
            language=self.language,
            detect=detected_language,
            least_words=0 if self.quick else self.least_words,
            on_notice=told,
        )
        if not all(one.language for one in languages):
            told(
                f"{public}: its language could not be told"
                + ("" if find_spec("wordfreq") else " without wordfreq (pip install 'fedstill[keyboard]')")
                + "; say --language CODE, and the dictionary gets its most frequent words"
            )
        return languages

    def _word_list(self, languages: Sequence[LanguageTexts], public: Path) -> WordList:
        try:
            # A quick teacher's loss is over all words at once, which takes long of a long list.
            size = min(self.words, _QUICK_WORDS) if self.quick else self.words
            return word_list_of(languages, size=size, known=_known_words)
        except InvalidValue as error:
            raise ExamplesError(f"{public}: {error}") from None

    def _choice(
        self, languages: Sequence[LanguageTexts], words: WordList, files: FleetFiles
    ) -> KeyboardChoice:
        """How the students are made in the minutes there are."""
        from fedstill_server.tasks.text.languages.budget import chosen_plan

        folder = _keyboard_folder(files)
        folder.mkdir(parents=True, exist_ok=True)
        plan = self.keyboard_plan(files.families, seed=files.seed)
        tokens = sum(len(words.encode(text)) + 1 for one in languages for text in one.texts)
        kept = folder / "choices.json"
        return chosen_plan(plan, tokens=tokens, words=len(words), minutes=self.minutes, kept=kept)

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
        vocabulary = read_word_list(folder / self.vocabulary, words=config.classes)
        lexicon = lexicon_of_family(folder, family, WordList.from_json(vocabulary))
        return PackageFiles(vocabulary=vocabulary, lexicon=lexicon)

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


def _note(notices: dict[str, None], notice: str) -> None:
    notices[notice] = None


def _known_words(language: str) -> Collection[str]:
    """The words that wordfreq has of a language, but for the rarest; none where it is not installed."""
    found = general_frequencies((frequency_language(language),)) if language else {}
    return {word for word, frequency in found.items() if frequency >= _KNOWN_FREQUENCY}


def _keyboard_folder(files: FleetFiles) -> Path:
    return files.folder / "server" / "keyboard"


def _first_students(
    languages: Sequence[LanguageTexts],
    words: WordList,
    lexicon_plan: LexiconPlan,
    choice: KeyboardChoice,
    files: FleetFiles,
) -> FirstStudents:
    """Students of the texts alone, or of the whole teacher, whose first network stands for it in the rounds.

    Where there is no teacher, the first student does. The weights of students and counts are fitted on texts
    that no student has learned.
    """
    from fedstill_server.families import build_student
    from fedstill_server.families.language import GatedRecurrentNetwork
    from fedstill_server.tasks.text.keyboard import held_out_texts, make_keyboard, make_students
    from fedstill_server.tasks.text.teacher import next_words_along
    from fedstill_server.training.networks import load_parameters, one_deterministic_thread, parameters_of

    texts, folder = [text for one in languages for text in one.texts], _keyboard_folder(files)
    if choice.taught:
        made = make_keyboard(texts, choice.plan, folder, words=words, on_progress=files.on_progress)
        teacher, students = parameters_of(made.teacher.networks[0]), made.students
    else:
        students = make_students(
            texts,
            choice.plan,
            folder,
            words=words,
            repeats=_repeats(languages),
            on_progress=files.on_progress,
        )
        teacher = students[choice.plan.families[0]]
    held_out = held_out_texts(texts, words, choice.plan)
    mixes = {}
    for number, (family, parameters) in enumerate(students.items()):
        files.on_progress("weighing students and counts", number, len(students))
        with one_deterministic_thread():
            network = build_student(family, (1,), len(words), seed=0)
            load_parameters(network, parameters)
            assert isinstance(network, GatedRecurrentNetwork)  # what keyboards are made of
            said = functools.partial(next_words_along, network.eval())
            lexicon = build_lexicon(texts, words, lexicon_plan, student=said, held_out=held_out)
        mixes[family] = lexicon.mix
    return FirstStudents(teacher=teacher, students=students, files={MIXES_FILE: mixes_to_json(mixes)})


def _repeats(languages: Sequence[LanguageTexts]) -> list[int]:
    """How often an epoch has each text: those of small languages more often, by the root of the ratio."""
    most = max(one.words for one in languages)
    times = [min(_MOST_REPEATS, round(math.sqrt(most / max(one.words, 1)))) for one in languages]
    return [often for one, often in zip(languages, times, strict=True) for _ in one.texts]
