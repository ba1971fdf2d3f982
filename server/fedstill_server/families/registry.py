"""The student families by name, without torch: what a name stands for is imported when it is built.

Built-in families have fixed names (mlp-small) or hold their widths in them (mlp-64-32). A family of one's own
is a function, or a class of torch modules, that takes `input_shape`, `classes`, both or neither:

    class Net(nn.Module):
        def __init__(self, input_shape: tuple[int, ...], classes: int) -> None: ...

It is named on a command line as `module:Net` or `name=module:Net`, by an entry point of the group
"fedstill.families", or by `FAMILIES.register`; what of it trains may follow (`module:Net+head`, see
train_rule.py). A model of Hugging Face is one, too: `hf:models/bert?num_hidden_layers=3` (places.py).
Packages, files and messages hold a family's name alone, never where it lies: whatever a device or a package
says, nothing is imported because of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fedstill_proto.checks import check_name
from fedstill_proto.errors import InvalidValue, UnknownName, unknown_name

from fedstill_server.data.forms import WORDS, ExampleForm
from fedstill_server.families.family import (
    ARRAYS,
    FORMS,
    TEXT,
    UTTERANCES,
    Family,
    Shape,
    family_of,
    partly_trained,
)
from fedstill_server.families.places import places_of, split_name
from fedstill_server.families.sizes import text_sizes_of, widths_of
from fedstill_server.families.train_rule import SEPARATOR, TrainRule
from fedstill_server.plugins import BUILT_IN, PluginError, Registry

if TYPE_CHECKING:
    from torch import nn

_HERE = "fedstill_server.families"
_BUILT_IN = {
    "mlp-small": (ARRAYS, f"{_HERE}.classifiers:mlp_small"),
    "mlp-wide": (ARRAYS, f"{_HERE}.classifiers:mlp_wide"),
    "cnn": (ARRAYS, f"{_HERE}.classifiers:cnn"),
    "cnn-norm": (ARRAYS, f"{_HERE}.classifiers:cnn_norm"),
    "ngrams": (UTTERANCES, f"{_HERE}.ngrams:ngrams"),
    "ngrams-small": (UTTERANCES, f"{_HERE}.ngrams:ngrams_small"),
    "gru": (TEXT, f"{_HERE}.language:gru"),
    "transformer": (TEXT, f"{_HERE}.language:transformer"),
}
_SIZES = {ARRAYS: "mlp-32", TEXT: "gru-80-224"}
_RESERVED = ("none", "teacher")


class FamilyRegistry(Registry[Family]):
    """The families: what every registry knows, sizes in names, and where families of one's own lie."""

    def __init__(self) -> None:
        built_in = {name: place for name, (_, place) in _BUILT_IN.items()}
        super().__init__("student family", group="fedstill.families", built_in=built_in, check=family_of)
        self._places: dict[str, str] = {}  # "module:attribute" by name, of one's own

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (
            name in self._places or _sized(name) is not None or super().__contains__(name)
        )

    def of_task(self, task: str) -> tuple[str, ...]:
        """The names of the built-in families of a task."""
        return tuple(name for name, (of, _) in _BUILT_IN.items() if of == task)

    def task_of(self, name: str) -> str:
        """The task that a family is of; only one of one's own is imported to be asked.

        Raises:
            UnknownName: For a name that is not there.
            PluginError: For one of one's own that cannot be imported, or is no family.
        """
        return _BUILT_IN[name][0] if name in _BUILT_IN else self.load(name).task

    def form_of(self, name: str) -> ExampleForm:
        """What the examples of a family's students are; errors as of `task_of`."""
        return FORMS[_BUILT_IN[name][0]] if name in _BUILT_IN else self.load(name).form

    def in_words(self, tasks: Sequence[str]) -> str:
        """The families of some tasks, for an error's text."""
        names = [name for task in tasks for name in self.of_task(task)]
        sizes = [f"a size such as {_SIZES[task]}" for task in tasks if task in _SIZES]
        return ", or ".join(part for part in (", ".join(names), " or ".join(sizes)) if part)

    def is_own(self, name: str) -> bool:
        """Whether a family is neither built in nor a size of one that is."""
        return name not in _BUILT_IN and _sized(name) is None

    def place_of(self, name: str) -> str:
        """Where a family of one's own lies, as it was named; "" of all others."""
        return self._places.get(name, "").partition(SEPARATOR)[0]

    def register(self, name: str, found: object) -> None:
        _check_free(name, where=self.kind)
        place = self._places.pop(name, None)  # what is said last holds
        try:
            super().register(name, found)
        except PluginError:
            self._places |= {} if place is None else {name: place}
            raise

    def know(self, name: str, place: str, *, where: str | None = None) -> None:
        """Let `name` stand for a family of one's own that lies at "module:attribute", in this process.

        What is said last holds: each run's configuration says it before the run is made, or goes on. What of
        it trains may follow on the place, behind a +.

        Raises:
            PluginError: For a module that is not there, and for a name that is built in or installed, or no
                name for a file.
        """
        where = where or self.kind
        _check_free(name, where=where, place=place)
        if ":" not in place:
            raise PluginError(f"{where}: {name}={place}: {place!r} is not of the form module:name")
        lies_at, _, rule = place.partition(SEPARATOR)
        self.require([lies_at], where=where)
        if rule:
            TrainRule.of(rule, where=f"{where}: {name}")
        if name in self._installed() and self._installed()[name][0].value != place:
            raise PluginError(
                f"{where}: the name {name!r} is taken ({self.origin(name)}); give yours another one, as in "
                f"other-name={place}"
            )
        self._registered.pop(name, None)
        self._places[name] = place

    def named(self, words: Iterable[str], *, where: str = "families") -> dict[str, str]:
        """The names of families as a person writes them, and where those of one's own lie.

        Args:
            words: A name that is there (mlp-small, mlp-64-32), `module:Net`, which is then named Net, or
                `name=module:Net`; what of one's own trains may follow, as in `module:Net+head`.
            where: The option or field to name in an error.

        Returns:
            By name, in their order, the "module:attribute" of one's own, and "" of all others. The names are
            fit for files and messages, and stand for the same in this process from now on.

        Raises:
            UnknownName: For a name that is not there.
            PluginError: For a module that is not there, and for a name that is taken, or is said twice.
        """
        places: dict[str, str] = {}
        for word in words:
            name, equals, place = word.rpartition("=")
            if (other_kind := split_name(word)) is not None:
                name, equals, place = _named_elsewhere(*other_kind, where=where)
            elif not equals and ":" in word:
                name = word.partition(SEPARATOR)[0].rpartition(":")[2]
            name = name.strip() or word
            place = place.strip() if equals or ":" in word else ""
            if name in places:
                other = f"; give one another name, as in other-name={place}" if place else ""
                raise PluginError(f"{where}: {name} is named twice{other}")
            if place:
                self.know(name, place, where=where)
            else:
                self.require([name], where=where)
                _check_fit(name, where=where)
            places[name] = place
        return places

    def named_one(self, words: str, *, where: str = "family") -> str:
        """The name of one family, as `named` gives it."""
        return next(iter(self.named([words], where=where)))

    def require(self, names: Iterable[str], *, where: str | None = None) -> None:
        modules = []
        for name in names:
            place = self._lies_at(name)
            if (known := places_of(place)) is not None:
                known.require(place, where=where or self.kind)
            else:
                modules.append(name)
        super().require(modules, where=where)

    def stands_for(self, name: str, *, where: str | None = None) -> object:
        place = self._lies_at(name)
        if (known := places_of(place)) is not None:
            return known.family(place, where=where or self.kind)
        return super().stands_for(name, where=where)

    def load(self, name: str, *, where: str | None = None) -> Family:
        found = _sized(name) or super().load(name, where=where)
        if name not in _BUILT_IN:
            rule = self._places.get(name, "").partition(SEPARATOR)[2]
            return partly_trained(name, found, TrainRule.of(rule)) if rule else found
        task = _BUILT_IN[name][0]
        return replace(found, task=task, form=FORMS[task])

    def origin(self, name: str) -> str:
        return super().origin(self._lies_at(name)) if self.is_own(name) else BUILT_IN

    def unknown(self, name: str, *, where: str | None = None) -> UnknownName:
        more = "sizes such as mlp-32, gru-80-224 and ssm-64-128, or module:name of your own"
        return unknown_name(where or self.kind, name, self.names(), more=more)

    def _place(self, name: str, *, where: str) -> str:
        return super()._place(self._lies_at(name), where=where)

    def _lies_at(self, name: str) -> str:
        return self._places.get(name, name).partition(SEPARATOR)[0]


FAMILIES = FamilyRegistry()
"""Every student family that has a name."""


def _sized(name: str) -> Family | None:
    """The family whose name holds its widths; None for a name of another form."""
    if widths_of(name) is not None:

        def classifier(input_shape: Shape, classes: int) -> nn.Module:
            from fedstill_server.families.sized import build_sized

            return build_sized(name, input_shape, classes)

        return Family(classifier)
    if text_sizes_of(name) is not None:

        def of_text(input_shape: Shape, classes: int) -> nn.Module:
            from fedstill_server.families.language import build_sized_text

            return build_sized_text(name, input_shape, classes)

        return Family(of_text, TEXT, WORDS)
    return None


def _named_elsewhere(name: str, place: str, *, where: str) -> tuple[str, str, str]:
    """The name, an equals sign, and the place of a family that is no module's."""
    lies_at = place.partition(SEPARATOR)[0]
    known = places_of(lies_at)
    assert known is not None
    return name or known.name_of(lies_at, where=where), "=", place


def _check_free(name: str, *, where: str, place: str = "module:name") -> None:
    """Refuse what a family of one's own may not be called."""
    _check_fit(name, where=where)
    if name in _RESERVED or name in _BUILT_IN or _sized(name) is not None:
        raise PluginError(
            f"{where}: the name {name!r} is taken (built in); give yours another one, as in "
            f"other-name={place}"
        )


def _check_fit(name: str, *, where: str) -> None:
    """A family's name becomes one of files and of messages."""
    try:
        check_name("name", name)
    except InvalidValue as error:
        raise PluginError(f"{where}: {error.problem}, the name of a family") from None
