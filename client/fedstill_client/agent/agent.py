"""The agent: everything that a device does with its own examples, in one place.

It answers its owner with the newest student there is, whoever made it: a round, a learning here, or the
package that the fleet published; and with what it knows of how often its owner meets each class. For everyone
it answers with the fleet's student alone. It looks at the private store before each answer, and puts other
weights in place when another process has left some there.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import fedstill_proto
import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Parameters
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.constraints.suppressor import suppressor_of
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.text.intents import INTENT_LIMIT, IntentSchema, Understanding, is_out_of_scope
from fedstill_proto.text.private_text import learnable, private_parts
from fedstill_proto.text.unlearned.told import told_secrets
from fedstill_proto.text.vocabulary import is_word, split

from fedstill_client.agent.slots import AgentSlots
from fedstill_client.agent.texts import AgentTexts, as_given
from fedstill_client.agent_types import (
    AgentBusy,
    AgentError,
    AgentStatus,
    Forgotten,
    KeptText,
    LearningResult,
    OnProgress,
    OwnWord,
    PersonalizeOptions,
    Precision,
    Scope,
    Stop,
    Suggestion,
    UnclearUtterance,
    UnclearUtterances,
    WordsAction,
    WordsAnswer,
    check_precision,
    check_scope,
)
from fedstill_client.device_description import DeviceDescription
from fedstill_client.home import AgentHome
from fedstill_client.keyboard.context import LearnableContext
from fedstill_client.model.answering_student import ROW_LIMIT, Answerer, AnsweringStudent
from fedstill_client.model.given_examples import ScaleWatch, class_numbers
from fedstill_client.model.intent_schema import intent_schema
from fedstill_client.model.intents import Said, encode_utterances, understand
from fedstill_client.model.label_prior import own_log_prior
from fedstill_client.model.limits import limit_memory
from fedstill_client.model.student_store import OwnStudent
from fedstill_client.model.suppression import package_constraints
from fedstill_client.model.temperature import fitted_temperature
from fedstill_client.model.word_list import package_lexicon, package_word_list
from fedstill_client.packages.errors import PackageError
from fedstill_client.packages.install import load_installed, load_package
from fedstill_client.packages.installed import InstalledPackage
from fedstill_client.privacy.account import budget_facts
from fedstill_client.store import PrivateStore, check_example
from fedstill_client.store.unclear import MOST_KEPT

_FIT_GRAIN = 16  # prior and temperature are fitted anew when one example in so many came or went
_FITTED_ON = 256  # of the newest held-out examples, the temperature

_PRUNE_EVERY = 64  # examples, after which what is too old or too much is removed


if TYPE_CHECKING:
    from fedstill_client.agent.keyboard import AgentKeyboard
    from fedstill_client.agent.memory import AgentMemory
    from fedstill_client.generation.sampling import Sampling
    from fedstill_client.generation.writing import Written
    from fedstill_client.keyboard.suggester import Suggester
    from fedstill_client.memory.embedder import TextEmbedder
    from fedstill_client.memory.text_memory import MemoryStudent


class Agent:
    """A device's agent; safe to share among threads."""

    def __init__(
        self, home: AgentHome, store: PrivateStore, *, threads: int = 1, precision: Precision = "float32"
    ) -> None:
        self._home, self._store, self._threads = home, store, threads
        self._precision = check_precision(precision)
        self._description = DeviceDescription.read(home.folder)
        self._lock = threading.RLock()  # of the store, and of what is read from it below
        self._learning = threading.Lock()
        self._seen: int | None = None  # the store's generation that the fields below are of
        self._installed: InstalledPackage | None = None
        self._is_before = False  # whether the package before that in use answers the owner (see releases/)
        self._fleets_of: InstalledPackage | None = None  # then, the package of the fleet's student
        self._own: OwnStudent | None = None
        self._student: AnsweringStudent | None = None
        self._fleets: AnsweringStudent | None = None  # the fleet's, once it was asked
        self._fleets_seen: int | None = None  # the store's generation that it is of
        self._answering: Answerer | None = None  # the student as it answers its owner
        self._keyboard: AgentKeyboard | None = None  # of a student of text that brings its words
        self._suggester: Suggester | None = None
        self._contexts = LearnableContext()  # as far as they may be looked at
        self._schema: IntentSchema | None = None  # of a student of utterances
        self._slots: AgentSlots | None = None  # of a student of utterances whose package has a tagger
        self._texts: AgentTexts | None = None  # of a student of sub-words
        self._memory: AgentMemory | None = None  # once it was asked for
        self._embedder: TextEmbedder | None = None  # of the package that answers the owner
        self._said: Said | None = None  # by the owner, to a student of utterances
        self._said_of = -1  # examples that it is of
        self._fitted_to = -1  # examples that its prior and temperature are of
        self._fitted_for: Parameters | None = None  # the student's weights
        self._since_pruned = 0  # examples
        self._watch = ScaleWatch(InputRule())  # of the installed package's rule
        store.prune()
        self._newest()

    @classmethod
    def open(cls, home: Path, *, threads: int = 1, precision: Precision = "float32") -> Agent:
        """Open an agent's home.

        Args:
            home: The folder of the home.
            threads: Processor threads of each answer.
            precision: "int8" answers with 8-bit weights, where the installed package has a graph for them.

        Raises:
            DeviceStoreError: The private store cannot be opened.
            PackageError: No package is installed, or it is damaged.
        """
        limit_memory()
        agent_home = AgentHome(home)
        store = PrivateStore.open(agent_home)
        try:
            return cls(agent_home, store, threads=threads, precision=precision)
        except BaseException:
            store.close()
            raise

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for a learning to end, and close the private store."""
        with self._learning, self._lock:
            self._store.close()

    def predict(self, x: npt.ArrayLike, *, scope: Scope = "owner") -> npt.NDArray[np.float32]:
        """Predict the classes of examples.

        Args:
            x: Examples as they are given [n, *given_shape]: the package's rule scales them. For a student of
                text, rows of words [n, 1 to S]; for one of sub-words, texts [n].
            scope: "owner" for the owner's own questions, "everyone" for the fleet's student alone.

        Returns:
            Class probabilities [n, classes]; for a student of text, those of the next word; of several labels
            the probability of each [n, K]; of numbers mean and standard deviation [n, D, 2].

        Raises:
            InvalidValue: x is not what the student takes.
            AgentError: The student answers with vectors; `embed` gives them.
        """
        check_scope(scope)
        with self._lock:
            answering = self._newest() if scope == "owner" else self._everyones()
            if self._texts is not None and self._texts.is_embedding:
                self._texts.require_classes()
            given = as_given(x, self._texts)
        answers = answering.probabilities(given)
        self._watch.look(given)
        return answers

    def doubt(self, x: npt.ArrayLike) -> str:
        """Say in a line what is odd about the scale of examples; empty where nothing is.

        The fleet's public examples are the measure. `predict` and `observe` log it once.
        """
        with self._lock:
            self._newest()
            return self._watch.doubt(np.asarray(x))

    def observe(self, x: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[int, ...]:
        """Keep private examples with their labels. All are on the disk when it returns.

        Args:
            x: Examples as they are given [n, *given_shape]; for a student of sub-words texts [n], too.
            labels: Class numbers [n, *label_shape], or names of classes [n]; of several labels 0 or 1, of
                numbers in the user's units.

        Returns:
            The examples' ids, which `forget` takes.

        Raises:
            InvalidValue: They are not what the student takes; none of them is kept.
        """
        with self._lock:
            self._newest()
            given, marks = as_given(x, self._texts), np.asarray(labels)
        if given.ndim == 0 or marks.ndim == 0 or len(given) != len(marks):
            problem = (
                f"x has shape {list(given.shape)}, labels {list(marks.shape)}; give one label an example"
            )
            raise InvalidValue("labels", problem)
        if len(given) > ROW_LIMIT:
            raise InvalidValue("x", f"{len(given)} examples; send {ROW_LIMIT} at most at a time")
        with self._lock:
            names = self._newest().student.manifest.class_names
            ids = self._keep(given, class_numbers(names, marks))
            self._watch.look(given)
            return ids

    def predict_text(
        self, text: str, k: int = 3, *, scope: Scope = "owner", keep_unsure: bool = False
    ) -> Understanding:
        """Predict what an utterance means, or which class a text is.

        Of a student of sub-words, the owner's answer counts the memory's labels in (see `memory`).

        Args:
            text: The utterance, or the text.
            k: How many intents at most.
            scope: "owner" for the owner's own questions, "everyone" for the fleet's student alone.
            keep_unsure: Keep the text in the private store where what it means is unsure, for `unclear`.

        Returns:
            Up to k intents, the likeliest first, whether the first is sure enough to act on, and the slots.

        Raises:
            InvalidValue: k is out of range, or the text holds no word.
            HomeNamesError: The names of the home cannot be read.
            AgentError: The installed student is none of utterances, and tells no classes of texts apart.
        """
        if not 1 <= k <= INTENT_LIMIT:
            raise InvalidValue("k", f"{k}; give 1 to {INTENT_LIMIT}")
        check_scope(scope)
        with self._lock:
            self._newest()
            if self._texts is not None:
                return self._texts.understood(self._of_texts([text], scope)[0], k)
            fleets, schema = self._everyones(), self._required_schema()
            answering, said = (self._newest(), self._said) if scope == "owner" else (fleets, None)
            slots = self._slots
        understood = understand(schema, text, k, answering=answering, fleets=fleets, said=said)
        if keep_unsure and not understood.sure and _may_be_shown(text):
            self._store.keep_unclear(text.strip())
        return understood if slots is None else replace(understood, slots=slots.slots(text))

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The vectors [n, width] of texts, of length 1, by the installed package's own weights.

        Args:
            texts: The texts.

        Raises:
            InvalidValue: A text holds nothing, or they are too many.
            AgentError: The installed student gives no vectors of texts.
        """
        with self._lock:
            return self._memory_student().embedder.embed(list(texts))

    @property
    def memory(self) -> AgentMemory:
        """Texts that the owner keeps and finds again by meaning, in the private store."""
        from fedstill_client.agent.memory import AgentMemory  # others load nothing of it

        with self._lock:
            if self._memory is None:
                self._memory = AgentMemory(self._store.memories, self._memory_student, self._lock)
            return self._memory

    def unclear(self, limit: int = 20) -> UnclearUtterances:
        """The utterances that were kept because what they mean is unsure, with what they may mean.

        Args:
            limit: How many at most, 1 to 500.

        Raises:
            InvalidValue: The limit is out of range.
            AgentError: The installed student is none of utterances.
        """
        if not 1 <= limit <= MOST_KEPT:
            raise InvalidValue("limit", f"{limit}; give 1 to {MOST_KEPT}")
        with self._lock:
            self._newest()
            names, kept = self._required_schema().intents, self._store.unclear()
        shown = (
            UnclearUtterance(
                id=one.id,
                text=one.text,
                heard_at=one.heard_at,
                intents=self.predict_text(one.text, 5).intents,
            )
            for one in kept[:limit]
        )
        return UnclearUtterances(tuple(shown), len(kept), names)

    def review(self, number: int, *, intent: str | None) -> tuple[int, ...]:
        """Say what one of the utterances of `unclear` means; it is understood from then on.

        Args:
            number: Its id.
            intent: The intent's name, or "none" for what asks for nothing; None where it is to be dropped.

        Returns:
            The ids of what was observed, which `forget` takes.

        Raises:
            InvalidValue: There is no such utterance or intent; nothing is changed.
        """
        with self._lock:
            student, schema = self._newest().student, self._required_schema()
            text = next((one.text for one in self._store.unclear() if one.id == number), None)
            if text is None:
                raise InvalidValue("id", f"{number} is none of the utterances to review")
            if intent is None or (schema.nothing is None and is_out_of_scope(intent)):
                self._store.drop_unclear(number)
                return ()
            x, meant = encode_utterances(schema, [text])[0], schema.number(intent)
            example = check_example(student.manifest, x, meant)
            kept = self._store.label_unclear(number, *example)
            self._count_kept(1)
            return (kept,)

    def observe_intents(self, utterances: Sequence[tuple[str, str]]) -> tuple[int, ...]:
        """Keep private utterances. All are on the disk when it returns.

        They are kept as the numbers that the student takes: the texts themselves are kept nowhere. (Those of
        sub-words spell them, all the same.)

        Args:
            utterances: Texts, each with the name of its intent, or of its class.

        Returns:
            Their ids, which `forget` takes.

        Raises:
            InvalidValue: An intent is unknown, or a text holds no word; none of them is kept.
            AgentError: The installed student is none of utterances.
        """
        with self._lock:
            self._newest()
            if self._texts is not None:
                rows = self._texts.rows([text for text, _ in utterances])
                return self.observe(rows, self._texts.labels([name for _, name in utterances]))
            schema = self._required_schema()
            x = encode_utterances(schema, [text for text, _ in utterances])
            numbers = []
            for row, (_, intent) in enumerate(utterances):
                try:
                    numbers.append(schema.number(intent))
                except InvalidValue as error:
                    raise InvalidValue(f"utterances[{row}].intent", error.problem) from None
            return self.observe(x, np.array(numbers, np.int64))

    def suggest(
        self, context: str, prefix: str = "", k: int = 3, *, layout: str = "", private: bool = False
    ) -> list[Suggestion]:
        """Suggest what follows a text, or completes or corrects the letters of a word.

        Args:
            context: The text before the word; what is private in it is not looked at.
            prefix: The letters of the word so far.
            k: How many words at most.
            layout: The keyboard that it is typed on, such as "qwertz"; "" is the device's.
            private: Whether to answer by the installed package alone, with nothing of the owner's, and to
                keep nothing of the context in memory. (Of a field for passwords, ask nothing.)

        Returns:
            Up to k suggestions, the likeliest first.

        Raises:
            InvalidValue: k is out of range, or the prefix is no beginning of one word.
            UnknownName: There is no such layout.
            AgentError: The installed student is none of text.
        """
        with self._lock:
            self._newest()
            suggester = self._required_suggester()
            if private and self._keyboard is not None:
                public = self._keyboard.in_public(self._package_student())
                return public.suggest(learnable(context).text, prefix, k, layout=layout)
            return suggester.suggest(self._contexts.of(context), prefix, k, layout=layout)

    def observe_text(self, text: str, *, learn: bool = True) -> KeptText:
        """Keep a private text that was typed. It is on the disk when this returns.

        Its words are suggested from then on, and the student learns from it. What must not be learned (see
        fedstill_proto.text.private_text), and words that are blocked, are kept nowhere.

        Args:
            text: The text.
            learn: False for a text that is nobody's business: nothing of it is kept.

        Returns:
            Its id, which `forget` takes, with how many parts of it were left out; 0 where nothing was kept.

        Raises:
            InvalidValue: The text holds no word.
            AgentError: The installed student is none of text.
        """
        with self._lock:
            self._newest()
            self._required_suggester()
            kept = learnable(text.encode("utf-8", "ignore").decode())
            if not any(map(is_word, split(kept.text))) and not kept.parts:
                raise InvalidValue("text", "holds no word")
            if not learn:
                return KeptText(0)
            if not any(map(is_word, split(kept.text))):
                return KeptText(0, len(kept.parts))
            number = self._store.observe_text(kept.text)
            self._count_kept(1)
            self._newest()
            self._required_suggester().prepare()  # now, and not within the next key press
            return KeptText(number, len(kept.parts))

    def generate(
        self,
        prompt: str = "",
        *,
        tokens: int = 64,
        sampling: Sampling | None = None,
        scope: Scope = "owner",
        draft: Path | None = None,
    ) -> Written:
        """Write on with a text, a token at a time; other calls are answered meanwhile.

        Args:
            prompt: The text to go on with; "" begins one.
            tokens: How many words or sub-words at most.
            sampling: How each is chosen.
            scope: "owner" to write as the owner's student, without words that the owner has blocked,
                "everyone" as the fleet's student alone.
            draft: The package of a small student that knows the same tokens, and drafts them for the
                installed one to check: the text has the same chances, and may be there sooner.

        Raises:
            InvalidValue: The number of tokens is out of range, or the prompt is too long.
            GenerationError: The installed student writes no text, or the draft knows other tokens.
        """
        from fedstill_proto.package.artifact import load_student

        from fedstill_client.agent.writing import owners_writer  # others load nothing of generation

        check_scope(scope)
        with self._lock:
            student = (self._newest() if scope == "owner" else self._everyones()).student
            package = self._owners_package(self._installed if scope == "owner" else None)
            blocked = self._store.words.blocked() if scope == "owner" else frozenset()
        drafting = None if draft is None else load_student(draft)
        writer = owners_writer(package, student, blocked, draft=drafting)
        return writer.write(prompt, tokens=tokens, sampling=sampling)

    def words(self, action: WordsAction = "list", words: Sequence[OwnWord | str] = ()) -> WordsAnswer:
        """List, forget, block, import or export the owner's own words.

        Args:
            action: "list" what was learned; "forget" words: they are taken out of all texts and of the
                personal dictionary, and personal students that may have learned them are dropped; "block"
                words: they are neither suggested nor learned, be they public or own; "unblock" them; list
                those that are "blocked"; "import" words of a personal dictionary; "export" all own words.
            words: The words to forget, block, unblock or import.

        Raises:
            InvalidValue: One of the words is none, or they are too many; then nothing is changed.
            AgentBusy: The agent is learning, perhaps from what is to be forgotten.
            AgentError: The installed student is none of text.
        """
        from fedstill_client.agent.own_words import answer_words

        if action == "forget" and not self._learning.acquire(blocking=False):
            raise AgentBusy("this agent is learning; stop that first, or ask again when it is done.")
        try:
            with self._lock:
                self._newest()
                answer = answer_words(self._store, self._required_suggester().ngrams, action, words)
                self._newest()
                return answer
        finally:
            if action == "forget":
                self._learning.release()

    def personalize(
        self,
        options: PersonalizeOptions | None = None,
        *,
        on_progress: OnProgress = lambda progress: None,
        stop: Stop = lambda: None,
    ) -> LearningResult:
        """Learn from the private examples now; answers go on meanwhile.

        Args:
            options: How to learn this time.
            on_progress: Called several times a second.
            stop: Asked at least twice a second; a reason ends the learning, and the next one goes on from
                there.

        Raises:
            AgentBusy: The agent is learning already.
        """
        # An agent that only answers loads nothing of learning.
        from fedstill_client.agent.learning import learn_now

        if not self._learning.acquire(blocking=False):
            raise AgentBusy("this agent is learning already; ask again when it is done.")
        try:
            # A store of its own: the other calls need theirs meanwhile.
            with PrivateStore.open(self._home) as store:
                return learn_now(self._home, store, options or PersonalizeOptions(), on_progress, stop)
        finally:
            self._learning.release()

    def forget(
        self, *, ids: tuple[int, ...] | None = None, before: float | None = None, everything: bool = False
    ) -> Forgotten:
        """Remove private examples, and all personal weights, which may have been learned from them.

        Args:
            ids: The examples to remove.
            before: Remove those observed before this time, in seconds since 1970.
            everything: Remove all of them.

        Raises:
            AgentBusy: The agent is learning, perhaps from what is to be forgotten.
            InvalidValue: Not exactly one of the three is given.
        """
        if not self._learning.acquire(blocking=False):
            raise AgentBusy("this agent is learning; stop that first, or ask again when it is done.")
        try:
            with self._lock:
                forgotten = self._store.forget(
                    ids=None if ids is None else list(ids), before=before, everything=everything
                )
                self._fitted_to = -1
                self._newest()
        finally:
            self._learning.release()
        return forgotten

    def status(self) -> AgentStatus:
        """What the agent has and does."""
        with self._lock:
            student = self._newest().student
            counts, released = self._store.counts(), self._store.ledger.totals()
        manifest, own = student.manifest, self._own
        return AgentStatus(
            device=self._description.name,
            family=manifest.family,
            package_version=manifest.package_version,
            parameters=manifest.parameter_count,
            input_type=manifest.input_type,
            input_shape=manifest.given_shape,
            label_shape=manifest.label_shape,
            classes=manifest.classes,
            training_examples=counts.training,
            held_out_examples=counts.held_out,
            stored_bytes=counts.bytes,
            student_run="" if own is None else own.run,
            student_round=0 if own is None else own.round,
            personalizing=self._learning.locked(),
            releases=released.releases,
            released_bytes=released.bytes,
            agent_version=fedstill_proto.__version__,
            precision=student.precision,
            class_names=manifest.class_names,
            target=manifest.target.kind.value,
            columns="" if manifest.columns is None else manifest.columns.to_json(),
            texts="" if manifest.subwords is None else manifest.subwords.answer,
            **budget_facts(self._home.folder, self._store.ledger),
        )

    def _everyones(self) -> Answerer:
        """The fleet's student as it answers everyone."""
        with self._lock:
            owners = self._newest().student
            if self._is_before:
                return self._newer()
            if self._fleets is None or self._fleets_seen != self._seen:
                manifest = owners.manifest
                weights = self._store.students(manifest, manifest.package_version).fleet()
                if self._fleets is None or self._fleets is owners:
                    self._fleets = owners.with_weights(weights)
                else:
                    self._fleets.swap(weights)
                self._fleets_seen = self._seen
            return Answerer(self._fleets, self._usual_temperature)

    def _package_student(self) -> AnsweringStudent:
        """The student of the package that answers the owner, with nothing that it learned here."""
        owners = self._newest().student
        return owners.with_weights(None) if self._is_before else self._everyones().student

    def _newer(self) -> Answerer:
        """The fleet's student of the package in use, while the one before it answers the owner."""
        installed = self._store.installed()
        if self._fleets is None or self._fleets_of != installed:
            package = load_installed(self._home, self._store)
            self._fleets = AnsweringStudent(package, threads=self._threads, precision=self._precision)
            self._fleets_of = installed
        manifest = self._fleets.manifest
        self._fleets.swap(self._store.students(manifest, manifest.package_version).fleet())
        return Answerer(self._fleets, self._usual_temperature)

    def _owners_package(self, owners: InstalledPackage | None) -> StudentPackage:
        """The package that answers the owner; the one in use where that of before is damaged."""
        if self._is_before and owners is not None:
            with suppress(PackageError):
                return load_package(self._home, owners)
        return load_installed(self._home, self._store)

    @property
    def _usual_temperature(self) -> float:
        return 1.0 if self._schema is None else self._schema.temperature

    def _newest(self) -> Answerer:
        """The student that answers its owner now."""
        with self._lock:
            generation = self._store.generation()
            if generation != self._seen or self._answering is None:
                self._student = self._refreshed()
                self._answering = self._fitted(self._student, self._answering)
                self._seen = generation
            return self._answering

    def _refreshed(self) -> AnsweringStudent:
        earlier = self._store.owners()
        self._is_before = earlier is not None
        owners = earlier or self._store.installed()
        student = self._student
        if student is None or owners != self._installed:
            package = self._owners_package(owners)
            student = AnsweringStudent(package, threads=self._threads, precision=self._precision)
            self._installed, self._answering, self._fleets = owners, None, None
            self._keyboard = _keyboard_of(package, self._description.layout)
            self._schema = intent_schema(package)
            self._texts, self._embedder = AgentTexts.of(package), None
            self._slots = None if package.slots is None else AgentSlots(package, self._home.names)
            self._watch = ScaleWatch(package.manifest.input_rule)
        manifest = student.manifest
        self._own = self._store.students(manifest, manifest.package_version).latest()
        before = student.weights
        student.swap(None if self._own is None else self._own.parameters)
        if student.weights is not before:  # vectors are by the package's weights
            self._embedder = None
        self._suggester = None if self._keyboard is None else self._keyboard.refresh(self._store, student)
        return student

    def _fitted(self, student: AnsweringStudent, before: Answerer | None) -> Answerer:
        """The student with what this device knows of its owner: how often each class is met, and how sure the
        student may say it is; `owner_share` in device.json weighs the first.
        """
        if student.manifest.label_shape:
            return Answerer(student)
        counts = self._store.counts()
        examples = counts.training + counts.held_out
        own = None
        if self._schema is not None and examples != self._said_of:  # what was said just now, too
            own = self._store.examples("all")
            self._said, self._said_of = Said(own.x, own.labels), examples
        # One example more or less moves little, and reading all of them takes time.
        few = self._fitted_to >= 0 and abs(examples - self._fitted_to) * _FIT_GRAIN <= examples
        if few and self._fitted_for is student.weights and before is not None:
            return before
        own, usual = own or self._store.examples("all"), self._usual_temperature
        reserved = None if self._schema is None else self._schema.nothing
        log_prior = own_log_prior(
            own.labels,
            classes=student.manifest.classes,
            owner_share=self._description.owner_share,
            reserved=reserved,
        )
        self._fitted_to, self._fitted_for = examples, student.weights
        held_out = self._store.examples("held-out")
        if held_out.x.shape[1:] != student.manifest.given_shape:  # none, or only of another package
            return Answerer(student, usual, log_prior, reserved)
        newest = slice(-_FITTED_ON, None)
        logits = student.logits(held_out.x[newest])
        temperature = fitted_temperature(logits, held_out.labels[newest], log_prior, usual=usual)
        return Answerer(student, temperature, log_prior, reserved)

    def _keep(self, x: npt.NDArray[Any], labels: npt.NDArray[Any]) -> tuple[int, ...]:
        """Check all of them, and then keep each."""
        student = self._newest().student
        checked = []
        for row in range(len(x)):
            try:
                checked.append(check_example(student.manifest, x[row], labels[row]))
            except InvalidValue as error:
                raise InvalidValue(f"{error.field}[{row}]", error.problem) from None
        ids = self._store.observe_all(checked)
        self._count_kept(len(ids))
        return ids

    def _count_kept(self, examples: int) -> None:
        self._since_pruned += examples
        if self._since_pruned >= _PRUNE_EVERY:
            self._store.prune()
            self._since_pruned = 0

    def _of_texts(self, texts: list[str], scope: Scope) -> npt.NDArray[np.float32]:
        """The class probabilities [n, classes] of texts; the owner's with what the memory says."""
        answering = self._newest() if scope == "owner" else self._everyones()
        assert self._texts is not None
        self._texts.require_classes()
        mixed = self.memory.mixed(texts) if scope == "owner" else None
        return answering.probabilities(self._texts.rows(texts)) if mixed is None else mixed

    def _memory_student(self) -> MemoryStudent:
        """The student as the memory needs it; raises AgentError where it reads no sub-words."""
        from fedstill_client.memory.embedder import TextEmbedder
        from fedstill_client.memory.text_memory import MemoryStudent

        with self._lock:
            answering, texts = self._newest(), self._texts
            if texts is None:
                raise AgentError("the installed student reads no sub-words: it makes no vectors of texts.")
            if self._embedder is None:
                student = answering.student.with_weights(None)
                self._embedder = TextEmbedder(student, texts.texts.reader)
            return MemoryStudent(
                embedder=self._embedder,
                row_holds=texts.fits,
                class_names=texts.class_names,
                probabilities=lambda given: answering.probabilities(texts.rows(given)),
                allowed=answering.student.suppression.answers,
                state=answering,
            )

    def _required_suggester(self) -> Suggester:
        if self._suggester is None:
            raise AgentError(
                "the installed student suggests no words: it is none of text, or its package brings no "
                "vocabulary.json."
            )
        return self._suggester

    def _required_schema(self) -> IntentSchema:
        if self._schema is None:
            raise AgentError(
                "the installed student knows no intents: it is none of utterances, or its package brings no "
                "intents.json."
            )
        return self._schema


def _may_be_shown(text: str) -> bool:
    """Whether an utterance has no secret in it; numbers are what people ask for."""
    return {part.reason for part in private_parts(text)} <= {"number"} and not any(told_secrets(text))


def _keyboard_of(package: StudentPackage, layout: str) -> AgentKeyboard | None:
    """What suggests words, where the package's student is one of text."""
    words = package_word_list(package)
    if words is None:
        return None
    from fedstill_client.agent.keyboard import AgentKeyboard  # others load nothing of keyboards

    suppressor = suppressor_of(package_constraints(package))
    return AgentKeyboard(words, package_lexicon(package, words), layout=layout, suppressor=suppressor)
