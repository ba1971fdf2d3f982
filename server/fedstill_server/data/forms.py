"""What an example is: amounts, words, or n-grams; where its labels stand, and what its values may be.

A form belongs to a student family (families/forms.py) and to a task (tasks/interface.py). Graphs, packages,
data files and the fleet's simulation are made by what a form says, and ask for no task's name.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fedstill_server.data.errors import ExamplesError


class Labels(enum.Enum):
    """Where the labels of an example stand."""

    ONE = "one for each example"
    EACH_PLACE = "one at each place of an example"


class ExampleForm:
    """An array of real numbers, each an amount, with one label.

    Attributes:
        labels: Where its labels stand.
        input_type: Of x, as packages say it: "float32" or "int64".
        amounts: Whether numbers have distances, so that noise on them and means of them are meaningful.
        tables: Parameters of a student with a row for each class, of which a training step reads those that
            its batch names. A form without any has classes that are few enough for every step.
        stacks: Whether steps of several devices are worth being one run: of networks that fill a processor
            by themselves they are not, and a graph for each number of devices would take long to make.
    """

    labels: ClassVar[Labels] = Labels.ONE
    input_type: ClassVar[str] = "float32"
    amounts: ClassVar[bool] = True
    tables: ClassVar[tuple[str, ...]] = ()
    stacks: ClassVar[bool] = True

    def label_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of one example's labels: () is one class."""
        return tuple(input_shape) if self.labels is Labels.EACH_PLACE else ()

    def checked(self, x: npt.NDArray[Any], *, classes: int, where: str) -> npt.NDArray[Any]:
        """x [n, *input_shape] as its type.

        Raises:
            ExamplesError: For values that no example has; `where` begins its text.
        """
        try:
            numbers = np.ascontiguousarray(x, np.float32)
        except (ValueError, TypeError) as error:
            raise ExamplesError(f"{where}: x is {x.dtype}, expected numbers ({error})") from None
        if not np.isfinite(numbers).all():
            raise ExamplesError(f"{where}: x holds a value that is not finite")
        return numbers

    def random(self, shape: Sequence[int], *, classes: int, random: np.random.Generator) -> npt.NDArray[Any]:
        """Examples that a graph is tried with: of normal numbers."""
        return random.normal(size=shape).astype(np.float32)


class WordsForm(ExampleForm):
    """A row of words' numbers [places], each labelled with the number of the word that comes next."""

    labels = Labels.EACH_PLACE
    input_type = "int64"
    amounts = False
    tables: ClassVar[tuple[str, ...]] = ("embedding.weight",)
    stacks = False

    def checked(self, x: npt.NDArray[Any], *, classes: int, where: str) -> npt.NDArray[Any]:
        if x.dtype.kind not in "iu":
            raise ExamplesError(f"{where}: x is {x.dtype}, expected the numbers of words")
        if x.size and not 0 <= x.min() <= x.max() < classes:
            raise ExamplesError(f"{where}: x holds words {x.min()} to {x.max()}, expected 0 to {classes - 1}")
        return x.astype(np.int64)

    def random(self, shape: Sequence[int], *, classes: int, random: np.random.Generator) -> npt.NDArray[Any]:
        return random.integers(0, classes, shape)


class NgramsForm(ExampleForm):
    """A row of numbers of hashed n-grams, float32, with one label; a number is a name, and 0 is nothing."""

    amounts = False

    def random(self, shape: Sequence[int], *, classes: int, random: np.random.Generator) -> npt.NDArray[Any]:
        # Few different ones, so that they meet; a third of each row is nothing.
        heard = random.random(shape) < 2 / 3
        return (heard * random.integers(0, 200, shape)).astype(np.float32)


class SubwordsForm(ExampleForm):
    """A row of numbers of sub-words [places], float32, with one label; a number is a name.

    Args:
        size: How many sub-words there are.
    """

    amounts = False
    stacks = False

    def __init__(self, size: int) -> None:
        self.size = size

    def checked(self, x: npt.NDArray[Any], *, classes: int, where: str) -> npt.NDArray[Any]:
        numbers = super().checked(x, classes=classes, where=where)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= self.size or (numbers % 1).any()):
            raise ExamplesError(
                f"{where}: x holds {numbers.min():g} to {numbers.max():g}, expected numbers of sub-words, "
                f"0 to {self.size - 1}"
            )
        return numbers

    def random(self, shape: Any, *, classes: int, random: np.random.Generator) -> npt.NDArray[Any]:
        # Few different ones, so that they meet.
        numbers: npt.NDArray[Any] = random.integers(0, min(self.size, 200), shape).astype(np.float32)
        return numbers


class NextSubwordsForm(WordsForm):
    """A row of sub-words, int64, each labelled with the one that comes next; every step sees them all."""

    tables: ClassVar[tuple[str, ...]] = ()


AMOUNTS, WORDS, NGRAMS = ExampleForm(), WordsForm(), NgramsForm()
