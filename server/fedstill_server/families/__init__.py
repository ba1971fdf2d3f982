"""The student families: small networks that fit a device, as plain torch modules.

A family is a function from the shape of one example and the number of classes to a module whose `forward`
takes `x: [batch, *input_shape]` and returns logits `[batch, classes]`; one of text (language.py) takes the
numbers of words `x: int64 [batch, S]` and returns logits `[batch, S, classes]`, of the word after each. Those
of utterances (ngrams.py) classify rows of numbers of hashed n-grams.
Besides the named families there are those whose names hold their widths: mlp-64-32 (sized.py), and of text
gru-80-224 (language.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from fedstill_server.families.classifiers import FAMILIES
from fedstill_server.families.errors import FamilyError
from fedstill_server.families.language import LANGUAGE_FAMILIES, build_text_student, reads_text
from fedstill_server.families.ngrams import NGRAM_FAMILIES
from fedstill_server.families.sized import build_sized, widths_of

__all__ = [
    "FAMILIES",
    "LANGUAGE_FAMILIES",
    "NGRAM_FAMILIES",
    "FamilyError",
    "build_student",
    "classifies",
    "hears_utterances",
    "initial_parameters",
    "reads_text",
]


def build_student(family: str, input_shape: Sequence[int], classes: int, *, seed: int = 0) -> nn.Module:
    """A student of `family` with its default initialization; the same seed gives the same student."""
    if not classifies(family) and not reads_text(family):
        named = ", ".join(sorted({**FAMILIES, **NGRAM_FAMILIES, **LANGUAGE_FAMILIES}))
        raise FamilyError(
            f"unknown student family {family!r}; there are {named}, and sizes such as mlp-32 and gru-80-224"
        )
    if not input_shape or min(input_shape) < 1:
        raise FamilyError(f"{family}: input shape {list(input_shape)} must hold positive sizes")
    if classes < 2:
        raise FamilyError(f"{family}: {classes} classes; a classifier needs at least 2")
    with torch.random.fork_rng(devices=[]):  # leave the caller's random state alone
        torch.manual_seed(seed)
        shape = tuple(input_shape)
        if reads_text(family):
            return build_text_student(family, shape, classes)
        return build_sized(family, shape, classes) or {**FAMILIES, **NGRAM_FAMILIES}[family](shape, classes)


def classifies(family: str) -> bool:
    """Whether `family` is one that classifies arrays."""
    return family in FAMILIES or hears_utterances(family) or widths_of(family) is not None


def hears_utterances(family: str) -> bool:
    """Whether `family` classifies utterances: its examples are numbers, which are names and not amounts."""
    return family in NGRAM_FAMILIES


def initial_parameters(
    family: str, input_shape: Sequence[int], classes: int, seed: int
) -> dict[str, np.ndarray]:
    """Freshly initialized parameters by name, float32, in the module's order."""
    student = build_student(family, input_shape, classes, seed=seed)
    return {name: value.detach().numpy().copy() for name, value in student.named_parameters()}
