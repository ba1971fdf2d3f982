"""What a student is to learn: the public set, a labelled private part, and what it is judged by.

Of text the labels are the words that come next (text_task.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import IntArray

from fedstill_server.data.digits import CLASSES, FIRST_ROWS, digits_examples
from fedstill_server.data.examples import Examples, load_examples
from fedstill_server.distill.errors import DistillError

DIGITS_TEST = 500
DIGITS_VALIDATION = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class DistillTask:
    """`public` may have labels, `private`, `validation` and `test` have them; the middle two may be empty.

    teaching: what a teacher that is trained on the spot learns, all labels that there are. test_groups: a
    name for each test example (a writer, a site), by which slices are made; None where there are none.
    """

    name: str
    classes: int
    public: Examples
    private: Examples
    validation: Examples
    test: Examples
    teaching: Examples
    test_groups: tuple[str, ...] | None = None
    vocabulary: bytes | None = None  # vocabulary.json, of text

    @property
    def places(self) -> int:
        """Answers to one example: 1, or of text one a word."""
        return 1 if self.vocabulary is None else self.input_shape[0]

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.public.x.shape[1:]


def open_task(
    name: str, *, seed: int = 0, private_labels: int = 100, public_labels: bool = False
) -> DistillTask:
    """`digits`, or a folder: public.npz (x, maybe y), test.npz (x, y), maybe private.npz and validation.npz.

    private_labels: of digits, how many examples the student knows the labels of. public_labels: whether the
    public set's labels may be used.
    """
    task = _digits(seed=seed, private_labels=private_labels) if name == "digits" else _folder(Path(name))
    if public_labels:
        return task
    return DistillTask(**{**vars(task), "public": Examples(task.public.x)})


def _digits(*, seed: int, private_labels: int) -> DistillTask:
    """1,797 digits in a seeded order: test, validation, the private part, and the public set."""
    x, y = digits_examples()
    most = len(x) - DIGITS_TEST - DIGITS_VALIDATION - 1
    if not 0 <= private_labels <= most:
        raise DistillError(f"private_labels: {private_labels} is not from 0 to {most}")
    order = np.random.default_rng(seed).permutation(len(x))
    cuts = np.cumsum([DIGITS_TEST, DIGITS_VALIDATION, private_labels])
    test, validation, private, public = np.split(order, cuts)
    rest = order[cuts[1] :]
    return DistillTask(
        name="digits",
        classes=CLASSES,
        public=Examples(x[public], y[public]),
        private=Examples(x[private], y[private]),
        validation=Examples(x[validation], y[validation]),
        test=Examples(x[test], y[test]),
        teaching=Examples(x[rest], y[rest]),
        test_groups=tuple(f"writer {_writer(row):02d}" for row in test),
    )


def _writer(row: int) -> int:
    return int(np.searchsorted(FIRST_ROWS, row, side="right"))


def _folder(folder: Path) -> DistillTask:
    public_path, test_path = folder / "public.npz", folder / "test.npz"
    if not test_path.is_file():
        test_path = folder / "global_test.npz"  # a fleet's
    for path in (public_path, test_path):
        if not path.is_file():
            raise DistillError(
                f"task: {path} is missing; give `digits`, a folder with public.npz and test.npz, "
                "or text: a .txt file, or a folder with public.txt"
            )
    shape, classes = _outline(test_path)
    public = load_examples(public_path, input_shape=shape, classes=classes)
    test = load_examples(test_path, input_shape=shape, classes=classes, labels_needed=True)

    def maybe(name: str) -> Examples:
        path = folder / name
        if not path.is_file():
            return Examples(public.x[:0], np.zeros(0, np.int64))
        return load_examples(path, input_shape=shape, classes=classes, labels_needed=True)

    private, validation = maybe("private.npz"), maybe("validation.npz")
    labelled = [part for part in (public, private) if part.y is not None and len(part)]
    teaching = Examples(
        np.concatenate([part.x for part in labelled]) if labelled else public.x[:0],
        np.concatenate([part.y for part in labelled if part.y is not None])
        if labelled
        else np.zeros(0, np.int64),
    )
    return DistillTask(
        name=folder.resolve().name,
        classes=classes,
        public=public,
        private=private,
        validation=validation,
        test=test,
        teaching=teaching,
    )


def _outline(path: Path) -> tuple[tuple[int, ...], int]:
    """The shape of an example and the number of classes, by the test set."""
    try:
        with np.load(path, allow_pickle=False) as file:
            y: IntArray = file["y"]
            shape: tuple[int, ...] = file["x"].shape[1:]
    except (OSError, ValueError, KeyError) as error:
        raise DistillError(f"{path}: not an .npz file with x and y ({error})") from None
    if y.size == 0 or y.dtype.kind not in "iu" or y.min() < 0 or y.max() < 1:
        raise DistillError(f"{path}: y holds no labels from 0 to 1 or more")
    return shape, int(y.max()) + 1
