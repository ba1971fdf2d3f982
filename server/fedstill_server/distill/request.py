"""A distillation as `fedstill-server distill` is asked for it: a TOML file, and what the command line
overrides.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedstill_proto.errors import FedstillError, unknown_name
from fedstill_proto.package.input_rule import CHANNELS, NORMALIZATIONS

from fedstill_server.config.codec import ConfigError, from_json
from fedstill_server.config.options import option_named, options_of
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.plan import DistillPlan, check
from fedstill_server.distill.registry import RECIPES, TECHNIQUES
from fedstill_server.distill.subword_plan import with_subword_plan

if TYPE_CHECKING:
    from fedstill_server.distill.stage_runner import Recipe
    from fedstill_server.distill.technique import Technique

_PLAN = "plan"  # before an option of the plan, where others have a technique's name


@dataclass(frozen=True, kw_only=True)
class DistillRequest:
    """What a person asks for.

    Attributes:
        task: "digits", or a file or folder (see tasks.py, text_task.py and text_tables.py).
        teacher: The teachers (see teachers/opening.py), or "train:<family>" for one that is trained here.
        family: The student's; "" is mlp-32, gru-64-128 for text, or half the layers of a teacher that is a
            model of Hugging Face.
        technique: The techniques and at most one recipe, by name.
        private_labels: Labelled private examples that the digits have.
        public_labels: Whether the labels of the public set may be used.
        combination: How several teachers are combined.
        answers: A file that caches the teacher's answers; "" keeps none.
        trainable: Whether devices can train the student: adds the training graph to the package.
        words: For text, how many words the word list has at most.
        places: For text, the words of a row; 0 is 16, or as many sub-words as the longest text has.
        vocabulary: For text, a word list or a package with one; "" makes one of the public text.
        tokenizer: For text, the sub-words that a student of text says instead of words: a tokenizer.json, a
            folder with one, or train:2000 for one that is made of the public text; "" is the tokenizer of a
            causal model of Hugging Face, where the student or a teacher is one, else words.
        normalize: How inputs are scaled, as `InputRule.of` takes it. With a teacher that is given, "auto" is
            as that reads them: what its package or run says, else "bytes".
        channels: Where the channels of an example are.
        suppress: A file of what the student never answers, suggests or writes, beside what its teachers do
            not: a constraints.json, or a .txt of a word or phrase a line; "" for none.
        plan: How the student is trained.
        options: A table of options for each technique or recipe that has others than its defaults.
    """

    task: str = "digits"
    teacher: tuple[str, ...] = ()
    family: str = ""
    technique: tuple[str, ...] = ("kd",)
    private_labels: int = 100
    public_labels: bool = False
    combination: str = "probabilities"
    answers: str = ""
    trainable: bool = False
    words: int = 4000
    places: int = 0
    vocabulary: str = ""
    tokenizer: str = ""
    normalize: str = "auto"
    channels: str = "auto"
    suppress: str = ""
    plan: DistillPlan = field(default_factory=DistillPlan)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self.words >= 100, "words", self.words, "100 or more")
        fits = self.places == 0 or 2 <= self.places <= 512
        check(fits, "places", self.places, "2 to 512 words, or 0")
        for name, known in (("normalize", NORMALIZATIONS), ("channels", CHANNELS)):
            check(getattr(self, name) in known, name, getattr(self, name), f"one of {', '.join(known)}")
        TECHNIQUES.require((*self.technique, *self.options), where="technique")
        if len(set(self.technique)) != len(self.technique):
            raise DistillError(f"technique: {', '.join(self.technique)} names one twice")
        _check_one([name for name in self.technique if name in RECIPES])
        unused = sorted(set(self.options) - set(self.technique))
        if unused:
            raise DistillError(f"options.{unused[0]}: is not among the techniques that are asked for")

    def techniques(self) -> tuple[Technique, ...]:
        """The techniques, in the order asked for."""
        from fedstill_server.distill.technique import Technique

        made = tuple(
            technique for technique in map(self._made, self.technique) if isinstance(technique, Technique)
        )
        names = [technique.name for technique in made]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DistillError(f"technique: two are called {twice}; give yours a name of its own")
        return made

    def recipe(self) -> Recipe | None:
        """The recipe that leads the training, if one is asked for."""
        from fedstill_server.distill.stage_runner import Recipe

        made = {name: self._made(name) for name in self.technique}
        recipes = {name: part for name, part in made.items() if isinstance(part, Recipe)}
        _check_one(list(recipes))
        return next(iter(recipes.values()), None)

    def _made(self, name: str) -> Technique | Recipe:
        kind, given = TECHNIQUES.load(name, where="technique"), self.options.get(name, {})
        if not isinstance(given, dict):
            raise ConfigError(f"options.{name}: {given!r} is not a table of options")
        for key in given:
            option_named(kind, key, where=f"technique {name}")
        try:
            return kind(**given)
        except FedstillError as error:
            raise ConfigError(f"options.{name}.{error}") from None

    def with_settings(self, settings: Sequence[str]) -> DistillRequest:
        """The request with options that a command line sets.

        Args:
            settings: `option=value` of the one technique that has it, `technique.option=value`, or
                `plan.option=value`.

        Raises:
            ConfigError: A text has another form, or a value is none that the option can have.
            UnknownName: There is no such option.
        """
        plan: dict[str, Any] = {}
        options = {name: dict(given) for name, given in self.options.items()}
        for text in settings:
            left, equals, value = text.partition("=")
            if not equals or not left.strip():
                raise ConfigError(f"--set: {text!r} is not option=value or technique.option=value")
            owner, _, key = left.strip().rpartition(".")
            owner = owner or self._owner(key)
            if owner not in (_PLAN, *self.technique):
                asked = ", ".join(self.technique) or "none"
                raise ConfigError(f"--set {text}: {owner} is not among the techniques asked for ({asked})")
            kind: type = DistillPlan if owner == _PLAN else TECHNIQUES.load(owner, where="--set")
            table = plan if owner == _PLAN else options.setdefault(owner, {})
            try:
                table[key] = option_named(kind, key, where=f"--set: {owner}").parsed(value)
            except ConfigError as error:
                raise ConfigError(f"--set {owner}.{error}") from None
        return replace(self, plan=replace(self.plan, **plan), options=options)

    def _owner(self, key: str) -> str:
        """The technique among those asked for that has an option of this name."""
        has = {name: [one.name for one in options_of(TECHNIQUES.load(name))] for name in self.technique}
        owners = [name for name, known in has.items() if key in known]
        if len(owners) > 1:
            raise ConfigError(f"--set {key}: say of which, {' or '.join(f'{one}.{key}' for one in owners)}")
        if not owners:
            every = dict.fromkeys(option for known in has.values() for option in known)
            raise unknown_name("--set: option", key, every)
        return owners[0]


def _check_one(recipes: Sequence[str]) -> None:
    if len(recipes) > 1:
        raise DistillError(f"technique: {' and '.join(recipes)} cannot be combined; each leads a training")


def read_request(path: Path | None, changes: Mapping[str, Any]) -> DistillRequest:
    """The file's request (None: all defaults) with `changes`; a dotted name goes into a table (plan.seed)."""
    document: dict[str, Any] = {}
    if path is not None:
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not a TOML file ({error})") from None
    for name, value in changes.items():
        table, _, key = name.rpartition(".")
        (document.setdefault(table, {}) if table else document)[key] = value
    return from_json(DistillRequest, with_subword_plan(document), where=str(path or "distill"))
